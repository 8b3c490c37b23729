/** "Train from these": the answers, corrected, become a classifier. */

import { runToEnd, sentence } from "./api.js";
import { button, byId, el, field, plural } from "./dom.js";

export class Training {
  /** `ontrained` receives each new version: `{ref, labels}`. */
  constructor({ results, ontrained }) {
    this.place = byId("training");
    this.status = byId("training-status");
    this.results = results;
    this.ontrained = ontrained;
    results.onchange = () => this.offer();
  }

  /** Offers to train; `context` is `{classifier, model, examples}` of the question. */
  begin(context) {
    this.context = context;
    this.status.textContent = "";
    this.offer();
  }

  get examples() {
    const given = Object.entries(this.context.examples).flatMap(([label, texts]) =>
      texts.map((text) => ({ text, label })));
    return [...given, ...this.results.examples];
  }

  offer() {
    const { corrected } = this.results;
    this.place.hidden = !this.examples.length;
    this.place.replaceChildren(
      el("p", { class: "row" },
        button("Train from these", () => this.ask(), { class: "primary" }),
        el("span", { class: "hint" }, `${plural(this.examples.length, "example")}, ${corrected} corrected`)));
  }

  ask() {
    const { classifier } = this.context;
    const name = el("input", { autocomplete: "off", value: proposal(), spellcheck: "false" });
    const covered = new Set(this.examples.map((example) => example.label));
    const missing = classifier ? [] : this.context.labels.filter((label) => !covered.has(label));
    const error = el("p", { class: "error", role: "alert" });
    const train = el("button", { class: "primary" }, classifier ? `Train ${classifier} further` : "Train");
    const form = el("form", {
      class: "panel",
      "aria-label": "Train a classifier",
      onsubmit: async (event) => {
        event.preventDefault();
        error.textContent = "";
        train.disabled = true;
        try {
          await this.train(classifier ? { classifier_id: classifier } : {
            name: name.value.trim() || undefined,
            model: this.context.model || undefined,
            keep_examples: true,
          }, name.value.trim());
        } catch (failure) {
          error.textContent = sentence(failure);
        } finally {
          train.disabled = false;
        }
      },
    },
    classifier ? null : field("Name of the new classifier", name),
    missing.length ? el("p", { class: "hint" },
      `No text has the label ${missing.join(", ")}, so the classifier will not know it.`) : null,
    el("p", { class: "row" }, train, button("Cancel", () => this.offer())),
    error);
    this.place.replaceChildren(form);
    (classifier ? train : name).focus();
  }

  async train(fields, name) {
    this.status.textContent = "Training …";
    const { examples } = this;
    try {
      const answer = await runToEnd("v1/train", {
        method: "POST", body: { ...fields, input: examples },
      });
      const ref = fields.classifier_id ?? (name || answer.classifier_id);
      this.place.hidden = true;
      this.status.textContent = `${ref} is trained: version ${answer.version}, with ${
        plural(answer.num_samples, "new example")}. It is chosen now: paste the next text and classify it.`;
      this.ontrained({ ref, labels: answer.labels });
    } catch (failure) {
      this.status.textContent = "";
      throw failure;
    }
  }
}

/** A name that is free, as far as two trainings do not begin in one second. */
function proposal() {
  const [date, time] = new Date().toISOString().split("T");
  return `tickets-${date}-${time.slice(0, 8).replaceAll(":", "")}`;
}
