/** The request as curl, Python and JavaScript, to copy. */

import { address } from "./api.js";
import { button, el } from "./dom.js";
import { languages, snippet } from "./snippets.js";

export class Code {
  constructor(place) {
    this.language = languages[0];
    this.requests = [];
    this.text = el("code", { id: "code-text" });
    this.note = el("span", { class: "hint", role: "status" });
    this.choices = languages.map((language) => button(language, () => {
      this.language = language;
      this.render();
    }));
    place.append(
      el("p", { class: "row", role: "group", "aria-label": "Language" }, this.choices,
        button("Copy", () => this.copy()), this.note),
      el("pre", { tabindex: 0, role: "region", "aria-label": "Program" }, this.text));
    this.render();
  }

  show(requests) {
    this.requests = requests;
    this.render();
  }

  render() {
    for (const choice of this.choices) {
      choice.setAttribute("aria-pressed", String(choice.textContent === this.language));
    }
    const [first] = this.requests;
    this.text.textContent = first
      ? snippet(this.language, address(first.path), first.body)
      : "Name labels and paste a text: the request appears here.";
    const others = this.requests.length - 1;
    this.note.textContent = others > 0 ? `The first of ${others + 1} requests, one for each text.` : "";
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.text.textContent);
      this.note.textContent = "Copied. Set KEY to your API key in the environment.";
    } catch { // no clipboard without TLS: the text is selected instead
      getSelection().selectAllChildren(this.text);
      this.note.textContent = "Press Ctrl+C to copy the selected text.";
    }
  }
}
