/** What can be changed of a classifier. */

import { call, finished } from "./api.js";
import { action, form } from "./actions.js";
import { el, field, select } from "./dom.js";

/** Forms for the properties, aliases, labels and model, and what deletes. */
export function changes(found, { path, again }) {
  const patched = (body) => async () => {
    await finished(path, { method: "PATCH", body: body() });
    again();
  };
  return el("div", {}, properties(found, patched), aliases(found, patched), labels(found, patched),
    rebuild(found, path, again), deletions(found, path, again));
}

function properties(found, patched) {
  const name = el("input", { value: found.name ?? "", autocomplete: "off" });
  const description = el("input", { value: found.description, autocomplete: "off" });
  const access = select([["private", "this account only"], ["public", "all accounts"]], {}, found.access);
  const keep = select([["true", "yes"], ["false", "no"]], {}, String(found.keep_examples));
  return form("Properties", el("div", { class: "fields" },
    field("Name", name), field("Description", description), field("May classify with it", access),
    field("Keep the examples of further training", keep)), "Save", patched(() => ({
    name: name.value.trim() || null,
    description: description.value,
    access: access.value,
    keep_examples: keep.value === "true",
  })));
}

function aliases(found, patched) {
  const name = el("input", { required: true, autocomplete: "off", placeholder: "champion" });
  const version = select([
    ...found.versions.map((each) => [String(each.version), `version ${each.version}`]),
    ["", "no version: remove the alias"],
  ]);
  return el("div", {}, el("h3", {}, "Aliases"), form("Aliases",
    el("div", { class: "fields" }, field("Alias", name), field("Points to", version)), "Set the alias",
    patched(() => ({ aliases: { [name.value.trim()]: version.value ? Number(version.value) : null } }))));
}

function labels(found, patched) {
  const label = select(found.labels.map((each) => [each.label, each.label]));
  const name = el("input", { autocomplete: "off", placeholder: "empty: remove the label" });
  return el("div", {}, el("h3", {}, "Labels"),
    el("p", { class: "hint" }, "A name that another label has merges the two. This makes a new version."),
    form("Labels", el("div", { class: "fields" }, field("Label", label), field("New name", name)),
      "Change the label", patched(() => ({ labels: { [label.value]: name.value.trim() || null } }))));
}

function rebuild(found, path, again) {
  if (!found.keep_examples) return null;
  const model = el("input", { value: found.model, autocomplete: "off" });
  return el("div", {}, el("h3", {}, "Rebuild"),
    el("p", { class: "hint" }, "All kept examples are learnt anew, with this model or another one."),
    form("Rebuild", field("Model", model), "Rebuild", async (told) => {
      told("Rebuilding …");
      await finished(`${path}/rebuild`, { method: "POST", body: { model: model.value.trim() } });
      again();
    }));
}

function deletions(found, path, again) {
  const what = found.name ?? "this classifier";
  return el("div", {}, el("h3", {}, "Delete"), el("p", { class: "row" },
    found.keep_examples ? action("Delete the kept examples", async () => {
      await call(`${path}/examples`, { method: "DELETE" });
      again();
    }, { danger: true, confirm: "Delete all kept examples? It can then not be rebuilt." }) : null,
    action("Delete the classifier", async () => {
      await call(path, { method: "DELETE" });
      location.hash = "#/classifiers";
    }, { danger: true, confirm: `Delete ${what} with all its versions?` })));
}
