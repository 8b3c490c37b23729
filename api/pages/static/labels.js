/** Labels as chips; each may have a description and examples. */

import { button, byId, el, field } from "./dom.js";

const split = (text) => text.split(/[,\n]/).map((name) => name.trim()).filter(Boolean);

export class Labels {
  constructor({ onchange }) {
    this.list = []; // {name, description, examples}
    this.open = null;
    this.takesExamples = false;
    this.onchange = onchange;
    this.input = byId("label-input");
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === ",") {
        if (event.key === "Enter" && !this.input.value.trim()) return; // Enter sends the form
        event.preventDefault();
        this.commit();
      } else if (event.key === "Backspace" && !this.input.value && this.list.length) {
        this.remove(this.list.at(-1));
      }
    });
    // What is typed counts at once and becomes chips at Enter. Not when focus leaves the field: the
    // button that a person is about to press would move away.
    this.input.addEventListener("input", onchange);
    this.input.addEventListener("paste", (event) => {
      const text = event.clipboardData.getData("text");
      if (!text.includes("\n")) return;
      event.preventDefault(); // a field of one line would make one label of a column of labels
      this.add(text);
    });
  }

  get names() {
    return [...new Set([...this.list.map((label) => label.name), ...split(this.input.value)])];
  }

  get descriptions() {
    return Object.fromEntries(this.list.filter((label) => label.description.trim())
      .map((label) => [label.name, label.description.trim()]));
  }

  get examples() {
    return Object.fromEntries(this.list.filter((label) => label.examples.length)
      .map((label) => [label.name, label.examples]));
  }

  /** Takes over what stands in the field. */
  commit() {
    const text = this.input.value;
    this.input.value = "";
    this.add(text);
  }

  add(text) {
    for (const name of split(text)) {
      if (!this.names.includes(name)) this.list.push({ name, description: "", examples: [] });
    }
    this.changed();
  }

  remove(label) {
    this.list = this.list.filter((other) => other !== label);
    if (this.open === label) this.open = null;
    this.changed();
  }

  changed() {
    byId("chips").replaceChildren(...this.list.map((label) => el("li", { class: "chip" },
      button(label.name, () => this.toggle(label), {
        "aria-expanded": String(this.open === label),
        "aria-controls": "label-details",
        class: label.description || label.examples.length ? "described" : null,
      }),
      button("×", () => {
        this.remove(label);
        this.input.focus();
      }, { "aria-label": `Remove ${label.name}` }))));
    byId("label-details").replaceChildren(...(this.open ? [this.details(this.open)] : []));
    this.onchange();
  }

  toggle(label) {
    this.open = this.open === label ? null : label;
    this.changed();
    const at = this.list.indexOf(label);
    const focused = this.open ? "#label-details textarea" : `#chips li:nth-child(${at + 1}) button`;
    document.querySelector(focused)?.focus();
  }

  details(label) {
    const description = el("textarea", {
      rows: 2,
      placeholder: "What belongs here, in a few words",
      oninput: () => {
        label.description = description.value;
        this.onchange();
      },
    });
    description.value = label.description;
    const examples = el("textarea", {
      rows: 3,
      placeholder: "One example on each line",
      oninput: () => {
        label.examples = examples.value.split("\n").map((text) => text.trim()).filter(Boolean);
        this.onchange();
      },
    });
    examples.value = label.examples.join("\n");
    return el("fieldset", {},
      el("legend", {}, `Label ${label.name}`),
      field("Description", description),
      this.takesExamples ? field("Examples", examples) : null,
      button("Done", () => this.toggle(label)));
  }
}
