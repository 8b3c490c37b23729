/** Two versions of a classifier side by side. */

import { call } from "./api.js";
import { action } from "./actions.js";
import { confusion } from "./charts.js";
import { count, el, field, percent, select, table } from "./dom.js";

/** A choice of two versions, and what differs. */
export function comparison(classifier, evaluations, path) {
  const title = el("h2", {}, "Versions side by side");
  if (classifier.versions.length < 2) {
    return el("div", {}, title, el("p", { class: "hint" }, "There is one version only."));
  }
  const options = classifier.versions.map(({ version }) => [String(version), `version ${version}`]);
  const left = select(options, {}, options[1][0]);
  const right = select(options, {}, options[0][0]);
  const result = el("div");
  return el("div", {}, title,
    el("div", { class: "row" }, field("One", left), field("Other", right),
      action("Compare", async () => {
        const versions = await Promise.all([left.value, right.value].map(async (version) => ({
          ...await call(`${path}@v${version}`), evaluation: evaluations.get(Number(version)),
        })));
        result.replaceChildren(...tables(versions));
      })),
    result);
}

function tables(versions) {
  const columns = versions.map((each) => `version ${each.version}`);
  const of = (read) => versions.map((each) => {
    const value = read(each);
    return value == null ? null : String(value);
  });
  const f1 = (label) => (each) =>
    each.evaluation?.labels.find((one) => one.label === label)?.f1.toFixed(3);
  const examples = (label) => (each) => {
    const entry = each.labels.find((one) => one.label === label);
    return entry ? count(entry.count) : "unknown";
  };
  const labels = [...new Set(versions.flatMap((each) => each.labels.map((one) => one.label)))];
  return [
    table("Figures", ["figure", ...columns], [
      ["model", ...of((each) => each.model)],
      ["examples", ...of((each) => count(each.num_samples))],
      ["accuracy in training", ...of((each) => each.metrics && percent(each.metrics.accuracy))],
      ["accuracy", ...of((each) => each.evaluation && percent(each.evaluation.accuracy))],
      ["macro F1", ...of((each) => each.evaluation?.macro_f1.toFixed(3))],
      ["calibration error", ...of((each) => each.evaluation?.expected_calibration_error.toFixed(3))],
    ], { numeric: [1, 2] }),
    table("Labels of both", ["label", ...columns.flatMap((each) => [`examples, ${each}`, `F1, ${each}`])],
      labels.map((label) => [label, ...versions.flatMap((each) => [examples(label)(each), f1(label)(each)])]),
      { numeric: [1, 2, 3, 4] }),
    el("div", { class: "cards" }, versions.filter((each) => each.evaluation).map((each) =>
      el("div", {}, el("h3", {}, `Version ${each.version}`), confusion(each.evaluation.confusion_matrix)))),
  ];
}
