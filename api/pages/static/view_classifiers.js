/** The list of classifiers, and one with its versions. */

import { call, download, runToEnd } from "./api.js";
import { action, form, orError } from "./actions.js";
import { learningCurve } from "./charts.js";
import { changes } from "./classifier_changes.js";
import { comparison } from "./comparison.js";
import { drift } from "./drift.js";
import { count, el, facts, field, moment, percent, plural, table } from "./dom.js";
import { evaluation } from "./evaluation.js";
import { retraining, settingsOf } from "./retraining.js";

const MAX_EVALUATIONS = 20; // jobs looked at for the evaluations of versions

export async function classifiersView({ place, signal }) {
  const classifiers = await call("v1/classifiers", { signal });
  const file = el("input", { type: "file", required: true, accept: ".safetensors" });
  const name = el("input", { autocomplete: "off" });
  place.replaceChildren(
    el("section", { class: "panel" }, table("Classifiers, newest first",
      ["classifier", "labels", "version", "uses", "changed", "model"],
      classifiers.map((each) => [
        el("a", { href: `#/classifiers/${each.classifier_id}` }, each.name ?? each.classifier_id),
        plural(each.labels.length, "label"), String(each.version), count(each.used_number),
        moment(each.updated_at), each.model,
      ]), { numeric: [2, 3], empty: "train one in the playground." })),
    el("section", { class: "panel" }, el("h2", {}, "Import"), form("Import a classifier",
      el("div", { class: "fields" }, field("Exported file", file), field("Name", name)), "Import", async () => {
        const query = name.value.trim() ? `?${new URLSearchParams({ name: name.value.trim() })}` : "";
        const answer = await runToEnd(`v1/classifiers/import${query}`, { method: "POST", body: file.files[0] });
        location.hash = `#/classifiers/${answer.classifier_id}`;
      })));
}

export async function classifierView({ place, argument, offer, signal, again, title }) {
  const path = `v1/classifiers/${encodeURIComponent(argument)}`;
  const [classifier, evaluations, settings] = await Promise.all([
    call(path, { signal }), evaluationsOf(argument, signal), settingsOf({ path, offer, signal }),
  ]);
  title(`Classifier ${classifier.name ?? argument}`);
  const panel = (...children) => el("section", { class: "panel" }, children);
  const sections = [
    panel(description(classifier), learning(classifier)),
    await orError("Retraining", retraining({ path, settings, offer, signal, again })),
    await orError("Drift", drift({ ref: liveRef(classifier, settings), offer, signal })),
    panel(versionTable(classifier, evaluations, path, again)),
    panel(comparison(classifier, evaluations, path)),
    panel(quality(classifier, evaluations, path, again)),
    panel(el("h2", {}, "Change"), changes(classifier, { path, again })),
  ];
  place.replaceChildren(...sections.filter(Boolean));
}

/** The version that callers get: that of the alias of the retraining, else the latest. */
function liveRef({ classifier_id: id, aliases }, settings) {
  const alias = settings?.alias ?? "champion";
  return aliases[alias] ? `${id}@v${aliases[alias]}` : id;
}

function description(classifier) {
  return el("div", {}, el("h2", {}, "The latest version"),
    facts([
      ["Name", classifier.name], ["Id", classifier.classifier_id], ["Description", classifier.description],
      ["Version", String(classifier.version)], ["Model", classifier.model], ["Access", classifier.access],
      ["Examples", count(classifier.num_samples)], ["Keeps examples", classifier.keep_examples ? "yes" : "no"],
      ["Uses", count(classifier.used_number)], ["Last use", moment(classifier.used_at)],
    ]),
    table("Labels with their examples", ["label", "examples"], classifier.labels.map((each) => [each.label, count(each.count)]), { numeric: [1] }),
    classifier.remarks.length ? el("div", {}, el("h3", {}, "Remarks of the training"),
      el("ul", {}, classifier.remarks.map((remark) => el("li", {}, remark.message)))) : null);
}

function learning({ metrics }) {
  if (!metrics?.learning_curve?.length) return null;
  return el("div", {}, el("h3", {}, "Learning curve"),
    el("p", { class: "hint" }, `${percent(metrics.accuracy)} of the examples were predicted right before they were learnt.`),
    learningCurve(metrics.learning_curve));
}

/** The newest evaluation of each version: version -> result. */
async function evaluationsOf(id, signal) {
  const page = await call(`v1/jobs?kind=evaluate&status=succeeded&limit=${MAX_EVALUATIONS}`, { signal })
    .catch(() => ({ data: [] })); // a key may be limited to other calls
  const results = await Promise.all(page.data.map((job) =>
    call(`v1/jobs/${job.id}/result`, { signal }).catch(() => null)));
  const newest = new Map();
  for (const result of results) {
    if (result?.classifier_id === id && !newest.has(result.version)) newest.set(result.version, result);
  }
  return newest;
}

function versionTable(classifier, evaluations, path, again) {
  const patch = async (aliases) => {
    await call(path, { method: "PATCH", body: { aliases } });
    again();
  };
  const rows = classifier.versions.map((version) => {
    const of = evaluations.get(version.version);
    return [
      [version.version, version.is_latest && "latest", version.candidate && "candidate",
        version.rejected_by && "rejected"].filter(Boolean).join(", "),
      version.of ? `${version.made_by} of ${version.of}` : version.made_by,
      moment(version.created_at), count(version.samples), count(version.label_count),
      version.accuracy == null ? null : percent(version.accuracy),
      of && of.macro_f1.toFixed(3), of && of.expected_calibration_error.toFixed(3),
      version.aliases.join(", "),
      el("span", { class: "row" },
        version.is_latest ? null : action("Roll back to it", async () => {
          await call(`${path}/rollback`, { method: "POST", body: { version: version.version } });
          again();
        }, { confirm: `Make version ${version.version} the latest?` }),
        version.aliases.includes("champion") ? null
          : action("Name it champion", () => patch({ champion: version.version })),
        action("Export", () => download(`${path}@v${version.version}/export`,
          `${classifier.name ?? classifier.classifier_id}-v${version.version}.safetensors`))),
    ];
  });
  return table("Versions, newest first", [
    "version", "made by", "created", "examples", "labels", "accuracy in training", "macro F1",
    "calibration error", "aliases", "actions",
  ], rows, { numeric: [3, 4, 5, 6, 7] });
}

/** The evaluation of the latest version, and a form to evaluate it. */
function quality(classifier, evaluations, path, again) {
  const file = el("input", { type: "file", required: true, accept: ".csv,.tsv,.jsonl,.parquet,.gz,.zst" });
  const newest = evaluations.get(classifier.version);
  return el("div", {}, el("h2", {}, `Evaluation of version ${classifier.version}`),
    newest ? evaluation(newest)
      : el("p", { class: "hint" }, "Not evaluated yet. Choose a file of examples that it has not learnt."),
    form("Evaluate", field("Labelled examples: CSV, JSONL or Parquet with the columns text and label", file),
      "Evaluate", async (report) => {
        const data = new FormData();
        data.set("file", file.files[0]);
        report("Evaluating …");
        await runToEnd(`${path}/evaluate`, { method: "POST", body: data });
        again();
      }));
}
