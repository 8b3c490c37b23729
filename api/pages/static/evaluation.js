/** An evaluation of a version: figures, labels, confusion matrix, reliability. */

import { download } from "./api.js";
import { action } from "./actions.js";
import { confusion, reliability } from "./charts.js";
import { el, facts, percent, table } from "./dom.js";

const digits = (value) => value.toFixed(3);

export function evaluation(report) {
  const plots = Object.entries(report.plots ?? {}).map(([name, urls]) =>
    action(`Download ${name.replaceAll("_", " ")}`, () => download(urls.png, `${name}.png`)));
  return el("div", {},
    facts([
      ["Version", String(report.version)], ["Examples", String(report.num_samples)],
      ["Accuracy", percent(report.accuracy)], ["Macro F1", digits(report.macro_f1)],
      ["Micro F1", digits(report.micro_f1)],
      ["Calibration error", digits(report.expected_calibration_error)],
    ]),
    table("Quality by label", ["label", "precision", "recall", "F1", "examples", "best threshold"],
      report.labels.map((each) => [
        each.label, digits(each.precision), digits(each.recall), digits(each.f1),
        String(each.support), each.threshold.toFixed(2),
      ]), { numeric: [1, 2, 3, 4, 5] }),
    el("div", { class: "cards" },
      el("div", {}, confusion(report.confusion_matrix)),
      el("div", {}, el("h3", {}, "Reliability"),
        el("p", { class: "hint" }, "On the dashed line a score of 0.8 is right 8 times in 10."),
        reliability(report.reliability))),
    el("p", { class: "row" }, plots));
}
