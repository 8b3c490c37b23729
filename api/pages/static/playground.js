/** The playground: texts and labels in, scores and a classifier out. */

import { Offer, call, sentence } from "./api.js";
import { Code } from "./code.js";
import { availableDialects } from "./dialects.js";
import { byId, el, plural } from "./dom.js";
import { Inputs } from "./inputs.js";
import { withKey } from "./key.js";
import { Labels } from "./labels.js";
import { Results } from "./results.js";
import { Training } from "./training.js";

const AT_ONCE = 4; // calls, of the formats that take one text a call
const EXAMPLE = {
  labels: "delivery, billing, bug",
  texts: `Where is my parcel? It was due on Monday.
I was charged twice this month.
The app crashes when I open the camera.
The courier left the box in the rain.
Please send me an invoice with our VAT number.`,
};

const results = new Results();
const training = new Training({ results, ontrained: useClassifier });
const code = new Code(byId("code"));
const inputs = new Inputs({ onchange: refresh });
const labels = new Labels({ onchange: refresh });
const error = byId("request-error");
const status = byId("request-status");
let dialects = [];
let classifiers = new Map(); // ref -> labels

/** What the form asks. */
function readForm() {
  const classifier = byId("classifier").value;
  return {
    items: inputs.items,
    labels: labels.names,
    descriptions: labels.descriptions,
    examples: labels.takesExamples ? labels.examples : {},
    classifier,
    model: classifier ? "" : byId("model").value,
    engine: byId("engine").value,
    multi: byId("multi").checked,
  };
}

const dialect = () => dialects.find((each) => each.id === byId("dialect").value) ?? dialects[0];

function refresh() {
  const question = readForm();
  const labelsOfClassifier = classifiers.get(question.classifier);
  byId("labels").hidden = Boolean(question.classifier);
  byId("known-labels").hidden = !labelsOfClassifier;
  byId("known-labels").textContent = labelsOfClassifier ? `It knows: ${labelsOfClassifier.join(", ")}` : "";
  byId("dialect-note").textContent = dialect()?.note ?? "";
  const complete = question.items.length && (question.classifier || question.labels.length) && dialect();
  code.show(complete ? dialect().calls(question) : []);
}

/** What is missing in a question, with the field where it belongs; null if nothing. */
function gap(question) {
  if (!question.items.length) return ["Paste a text first, or add a file.", "texts"];
  if (question.classifier && dialect().labelsOnly) {
    return [`The request format ${dialect().title} has no classifiers: choose another format.`, "dialect"];
  }
  if (!question.classifier && question.labels.length < 2) return ["Name at least two labels.", "label-input"];
  return null;
}

async function classify() {
  labels.commit();
  const question = readForm();
  const missing = gap(question);
  error.textContent = missing?.[0] ?? "";
  if (missing) {
    const field = byId(missing[1]);
    byId("options").open ||= byId("options").contains(field);
    field.focus();
    return;
  }
  const format = dialect();
  status.textContent = "Classifying …";
  byId("classify").disabled = true;
  const began = performance.now();
  try {
    const answers = await allAnswers(format.calls(question));
    const took = performance.now() - began;
    status.textContent = `${plural(answers.length, "result")} in ${Math.round(took)} ms`;
    const names = question.classifier ? classifiers.get(question.classifier) ?? [] : question.labels;
    results.show(question.items, answers, names);
    training.begin(question);
    byId("results-title").focus();
  } catch (failure) {
    status.textContent = "";
    error.textContent = sentence(failure);
  } finally {
    byId("classify").disabled = false;
  }
}

/** The answers of calls, in their order, a few calls at a time. */
async function allAnswers(calls) {
  const answers = [];
  for (let at = 0; at < calls.length; at += AT_ONCE) {
    answers.push(...await Promise.all(calls.slice(at, at + AT_ONCE).map(async ({ path, body, read }) =>
      read(await call(path, { method: "POST", body })))));
  }
  return answers.flat();
}

/** Chooses a classifier that was trained just now; its texts are learnt, so the field is empty. */
async function useClassifier({ ref, labels: names }) {
  classifiers.set(ref, names);
  offerClassifiers(ref);
  inputs.clear();
  byId("texts").focus();
}

function offerClassifiers(current) {
  const options = [...classifiers.keys()].map((ref) =>
    el("option", { value: ref, selected: ref === current }, `classifier ${ref}`));
  byId("classifier").replaceChildren(el("option", { value: "" }, "labels that I name here"), ...options);
  refresh();
}

/** Fills the choices that the service offers. */
async function load() {
  error.textContent = "";
  const fill = (id, values, title) => byId(id).append(...values.map((value) => el("option", { value }, title?.(value) ?? value)));
  const [models, own] = await Promise.all([
    call("v1/models").catch(() => ({ data: [] })),
    call("v1/classifiers").catch(() => []), // a key may be limited to other calls
  ]);
  byId("model").length = 1;
  fill("model", models.data.filter((model) => model.available).map((model) => model.id));
  classifiers = new Map(own.map((each) => [each.name ?? each.classifier_id, each.labels]));
  offerClassifiers(byId("classifier").value);
}

async function offer() {
  const api = await Offer.read();
  dialects = availableDialects(api);
  byId("dialect").append(...dialects.map(({ id, title }) => el("option", { value: id }, title)));
  const engines = api.values("ClassifyBody", "engine");
  byId("engine-row").hidden = !engines.length;
  byId("engine").append(...engines.map((value) => el("option", { value }, value)));
  labels.takesExamples = api.field("ClassifyBody", "examples") !== undefined;
  refresh();
}

byId("request").addEventListener("submit", (event) => {
  event.preventDefault();
  classify();
});
byId("request").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) classify();
});
for (const id of ["classifier", "model", "engine", "dialect", "multi"]) {
  byId(id).addEventListener("change", refresh);
}
byId("example").addEventListener("click", () => {
  byId("classifier").value = "";
  inputs.fill(EXAMPLE.texts);
  labels.add(EXAMPLE.labels);
  refresh();
});
offer().catch((failure) => {
  error.textContent = sentence(failure);
});
withKey(load);
