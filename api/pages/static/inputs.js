/** The texts and files to classify. */

import { button, byId, el, plural } from "./dom.js";

const SPLITS = { line: /\n/, paragraph: /\n\s*\n/, whole: /(?!)/ };
const MAX_TEXT_FILE_BYTES = 1 << 20;

export class Inputs {
  constructor({ onchange }) {
    this.files = [];
    this.onchange = onchange;
    this.area = byId("texts");
    this.split = byId("split");
    this.splitIsFixed = false; // whether a person chose how texts are split
    this.area.addEventListener("input", () => this.changed());
    this.split.addEventListener("change", () => {
      this.splitIsFixed = true;
      this.changed();
    });
    byId("pick").addEventListener("change", async (event) => {
      await this.add([...event.target.files]);
      event.target.value = "";
    });
    const drop = byId("drop");
    drop.addEventListener("dragover", (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      drop.classList.remove("over");
      if (!event.dataTransfer.files.length) return; // a dropped text lands in the textarea
      event.preventDefault();
      this.add([...event.dataTransfer.files]);
    });
    this.area.addEventListener("paste", (event) => {
      if (!event.clipboardData.files.length) return;
      event.preventDefault();
      this.add([...event.clipboardData.files]);
    });
  }

  get texts() {
    return this.area.value.split(SPLITS[this.split.value]).map((text) => text.trim()).filter(Boolean);
  }

  /** `{text}`, `{image, name}` or `{file, name}`, in the order of the page. */
  get items() {
    return [...this.texts.map((text) => ({ text })), ...this.files];
  }

  fill(text) {
    this.area.value = text;
    this.splitIsFixed = false;
    this.changed();
  }

  clear() {
    this.files = [];
    this.fill("");
  }

  async add(files) {
    for (const file of files) {
      if (file.type.startsWith("text/") && file.size <= MAX_TEXT_FILE_BYTES) {
        this.area.value += (this.area.value && "\n") + (await file.text());
      } else {
        const url = await dataUrl(file);
        this.files.push(file.type.startsWith("image/")
          ? { image: url, name: file.name }
          : { file: url.slice(url.indexOf(",") + 1), name: file.name });
      }
    }
    this.changed();
  }

  changed() {
    if (!this.splitIsFixed) {
      this.split.value = /\S\s*\n[^\S\n]*\n\s*\S/.test(this.area.value) ? "paragraph" : "line";
    }
    byId("files").replaceChildren(...this.files.map((each) => el("li", {},
      each.image ? el("img", { src: each.image, alt: "" }) : null,
      el("span", {}, each.name),
      button("×", () => {
        this.files = this.files.filter((other) => other !== each);
        this.changed();
      }, { "aria-label": `Remove ${each.name}`, class: "small" }))));
    const parts = [
      this.texts.length && plural(this.texts.length, "text"),
      this.files.length && plural(this.files.length, "file"),
    ].filter(Boolean);
    byId("texts-count").textContent = parts.join(" and ")
      || "No texts yet. You can also drop images and documents here.";
    this.onchange();
  }
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read`));
    reader.readAsDataURL(file);
  });
}
