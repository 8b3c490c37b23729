/** An evaluation of a version: figures, labels, confusion matrix, reliability. */

import { download } from "./api.js";
import { action } from "./actions.js";
import { confusion, reliability } from "./charts.js";
import { el, facts, percent, table } from "./dom.js";

const digits = (value) => value.toFixed(3);

export function evaluation(found) {
  const plots = Object.entries(found.plots ?? {}).map(([name, urls]) =>
    action(`Download ${name.replaceAll("_", " ")}`, () => download(urls.png, `${name}.png`)));
  return el("div", {},
    facts([
      ["Version", String(found.version)], ["Examples", String(found.num_samples)],
      ["Accuracy", percent(found.accuracy)], ["Macro F1", digits(found.macro_f1)],
      ["Micro F1", digits(found.micro_f1)],
      ["Calibration error", digits(found.expected_calibration_error)],
    ]),
    table("Labels", ["label", "precision", "recall", "F1", "examples", "best threshold"],
      found.labels.map((each) => [
        each.label, digits(each.precision), digits(each.recall), digits(each.f1),
        String(each.support), each.threshold.toFixed(2),
      ]), { numeric: [1, 2, 3, 4, 5] }),
    el("div", { class: "cards" },
      el("div", {}, confusion(found.confusion_matrix)),
      el("div", {}, el("h3", {}, "Reliability"),
        el("p", { class: "hint" }, "On the dashed line a score of 0.8 is right 8 times in 10."),
        reliability(found.reliability))),
    el("p", { class: "row" }, plots));
}
