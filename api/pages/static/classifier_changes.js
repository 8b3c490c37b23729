/** What can be changed of a classifier. */

import { call, runToEnd } from "./api.js";
import { action, form } from "./actions.js";
import { el, field, select } from "./dom.js";

/** Forms for the properties, aliases, labels and model, and what deletes. */
export function changes(classifier, { path, again }) {
  const patch = (body) => async () => {
    await runToEnd(path, { method: "PATCH", body: body() });
    again();
  };
  return el("div", {}, properties(classifier, patch), aliases(classifier, patch), labels(classifier, patch),
    rebuild(classifier, path, again), deletions(classifier, path, again));
}

function properties(classifier, patch) {
  const name = el("input", { value: classifier.name ?? "", autocomplete: "off" });
  const description = el("input", { value: classifier.description, autocomplete: "off" });
  const access = select([["private", "this account only"], ["public", "all accounts"]], {}, classifier.access);
  const keep = select([["true", "yes"], ["false", "no"]], {}, String(classifier.keep_examples));
  return form("Properties", el("div", { class: "fields" },
    field("Name", name), field("Description", description), field("May classify with it", access),
    field("Keep the examples of further training", keep)), "Save", patch(() => ({
    name: name.value.trim() || null,
    description: description.value,
    access: access.value,
    keep_examples: keep.value === "true",
  })));
}

function aliases(classifier, patch) {
  const name = el("input", { required: true, autocomplete: "off", placeholder: "champion" });
  const version = select([
    ...classifier.versions.map((each) => [String(each.version), `version ${each.version}`]),
    ["", "no version: remove the alias"],
  ]);
  return el("div", {}, el("h3", {}, "Aliases"), form("Set an alias",
    el("div", { class: "fields" }, field("Alias", name), field("Points to", version)), "Set the alias",
    patch(() => ({ aliases: { [name.value.trim()]: version.value ? Number(version.value) : null } }))));
}

function labels(classifier, patch) {
  const label = select(classifier.labels.map((each) => [each.label, each.label]));
  const name = el("input", { autocomplete: "off", placeholder: "empty: remove the label" });
  return el("div", {}, el("h3", {}, "Labels"),
    el("p", { class: "hint" }, "A name that another label has merges the two. This makes a new version."),
    form("Change a label", el("div", { class: "fields" }, field("Label", label), field("New name", name)),
      "Change the label", patch(() => ({ labels: { [label.value]: name.value.trim() || null } }))));
}

function rebuild(classifier, path, again) {
  if (!classifier.keep_examples) return null;
  const model = el("input", { value: classifier.model, autocomplete: "off" });
  return el("div", {}, el("h3", {}, "Rebuild"),
    el("p", { class: "hint" }, "All kept examples are learnt anew, with this model or another one."),
    form("Rebuild", field("Model", model), "Rebuild", async (report) => {
      report("Rebuilding …");
      await runToEnd(`${path}/rebuild`, { method: "POST", body: { model: model.value.trim() } });
      again();
    }));
}

function deletions(classifier, path, again) {
  const what = classifier.name ?? "this classifier";
  return el("div", {}, el("h3", {}, "Delete"), el("p", { class: "row" },
    classifier.keep_examples ? action("Delete the kept examples", async () => {
      await call(`${path}/examples`, { method: "DELETE" });
      again();
    }, { danger: true, confirm: "Delete all kept examples? It can then not be rebuilt." }) : null,
    action("Delete the classifier", async () => {
      await call(path, { method: "DELETE" });
      location.hash = "#/classifiers";
    }, { danger: true, confirm: `Delete ${what} with all its versions?` })));
}
