/**
 * The request formats of the API: what a question becomes, and what an answer says.
 *
 * A question is `{items, labels, descriptions, examples, classifier, model, engine, multi}`. `calls`
 * makes the requests of a question; `read` makes of each answer a list, one entry an item:
 * `{prediction, predictions: [{label, score}], error, calibrated}`. A score that is `calibrated` is
 * the share of such answers that are right.
 */

const given = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) =>
  value && (typeof value !== "object" || Object.keys(value).length)));

const item = ({ text, image, file }) => given({ text, image, file });
const input = (items) => items.map((each) => (each.text === undefined ? item(each) : each.text));
const best = (predictions) => predictions.reduce((a, b) => (b.score > a.score ? b : a)).label;

/** One request an item, for the formats that take one item. */
const each = (question, path, body, read) =>
  question.items.map((one) => ({ path, body: body(one), read: (answer) => [read(answer)] }));

const list = (scores) => Object.entries(scores).map(([label, score]) => ({ label, score }));

const native = {
  id: "native",
  title: "Pigeonhole",
  note: "All options, and one request for all items.",
  isAvailable: () => true,
  calls: (question) => [{
    path: "v1/classify",
    body: given({
      model: question.model,
      classifier_id: question.classifier,
      input: input(question.items),
      errors: "per_item",
      ...(!question.classifier && {
        labels: question.labels,
        descriptions: question.descriptions,
        examples: question.examples,
        engine: question.engine,
        multi_label: question.multi,
      }),
    }),
    read: ({ data, engine = "embedding" }) =>
      data.map((one) => ({ ...one, calibrated: engine === "embedding" })),
  }],
};

const jina = {
  id: "jina",
  title: "Jina AI",
  note: "The fields of Jina's API: labels or a classifier, without descriptions and options.",
  isAvailable: () => true,
  calls: (question) => [{
    path: "v1/classify",
    body: given({
      model: question.model,
      classifier_id: question.classifier,
      input: question.items.map(item),
      ...(!question.classifier && { labels: question.labels }),
    }),
    read: ({ data }) => data.map((one) => ({ ...one, calibrated: true })),
  }],
};

const classer = {
  id: "classer",
  title: "Classer",
  note: "One request for each item; several labels go to /v1/tag.",
  isAvailable: (offer) => offer.has("/v1/tag"),
  calls: (question) => each(
    question,
    question.multi ? "v1/tag" : "v1/classify",
    (one) => ({ ...item(one), ...given({
      classifier: question.classifier,
      ...(!question.classifier && {
        labels: question.labels,
        descriptions: question.descriptions,
        examples: question.examples,
      }),
    }) }),
    (answer) => {
      const single = answer.label === undefined ? [] : [[answer.label, answer.confidence]];
      const predictions = answer.labels?.map((one) => ({ label: one.label, score: one.confidence }))
        ?? list(answer.all_scores ?? Object.fromEntries(single));
      return { prediction: answer.label ?? predictions[0]?.label ?? null, predictions, calibrated: true };
    },
  ),
};

const cn8 = {
  id: "cn8",
  title: "CN8",
  note: "One request for each text, without images and classifiers. Scores are not calibrated.",
  labelsOnly: true,
  isAvailable: (offer) => offer.has("/v1/proxy/text-classify"),
  calls: (question) => each(
    question,
    "v1/proxy/text-classify",
    (one) => ({ text: one.text, ...given({
      labels: question.labels,
      label_descriptions: question.descriptions,
      multi_label: question.multi,
    }) }),
    (answer) => {
      const predictions = list(answer.data.all_scores);
      return { prediction: answer.data.label ?? best(predictions), predictions };
    },
  ),
};

const ALL = [native, jina, classer, cn8];

export const availableDialects = (offer) => ALL.filter((dialect) => dialect.isAvailable(offer));
