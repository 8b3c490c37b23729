/** Answers as bars, each with the field that corrects it. */

import { byId, el, select, svg } from "./dom.js";
import { meaning } from "./meaning.js";

const SHOWN_LABELS = 5;
const LEFT_OUT = "";
const OTHER = "\u0000other"; // no label holds this character

export class Results {
  constructor() {
    this.rows = []; // {item, answer, label}
  }

  show(items, answers, labels) {
    this.rows = items.map((item, index) => {
      const answer = answers[index];
      return { item, answer, label: answer.prediction ?? LEFT_OUT };
    });
    byId("results-note").textContent = "Wrong? Choose the correct label below the text, then train.";
    byId("results").replaceChildren(...this.rows.map((row) => el("li", {},
      el("p", { class: "item" },
        row.item.image ? el("img", { src: row.item.image, alt: row.item.name }) : null,
        row.item.text ?? row.item.name),
      row.answer.error
        ? el("p", { class: "error" }, row.answer.error.message)
        : [verdict(row.answer), bars(row.answer), this.correction(row, labels)])));
  }

  /** The examples that the answers make, with the corrections. */
  get examples() {
    return this.rows.filter((row) => row.label !== LEFT_OUT && !row.item.file && !row.answer.error)
      .map(({ item, label }) => (item.image ? { image: item.image, label } : { text: item.text, label }));
  }

  get corrected() {
    return this.rows.filter((row) => !row.answer.error && row.label !== row.answer.prediction).length;
  }

  correction(row, labels) {
    const other = el("input", { hidden: true, "aria-label": "Another label", placeholder: "Another label" });
    const choice = select(
      [...labels.map((label) => [label, label]), [OTHER, "another label …"], [LEFT_OUT, "none: leave it out"]],
      {}, row.label);
    const changed = () => {
      other.hidden = choice.value !== OTHER;
      row.label = choice.value === OTHER ? other.value.trim() : choice.value;
      mark.textContent = row.label === row.answer.prediction ? "" : "corrected";
      this.onchange?.();
    };
    choice.addEventListener("change", () => {
      changed();
      if (!other.hidden) other.focus();
    });
    other.addEventListener("input", changed);
    const mark = el("span", { class: "tag" });
    choice.id = `correct-${this.rows.indexOf(row)}`;
    return el("p", { class: "row" },
      el("label", { class: "inline", for: choice.id }, "Correct label"), choice, other, mark);
  }
}

function verdict(answer) {
  if (answer.prediction === null) return el("p", { class: "verdict" }, "None of the labels fits.");
  const score = answer.predictions.find((each) => each.label === answer.prediction)?.score;
  return el("p", { class: "verdict" }, el("strong", {}, answer.prediction),
    answer.calibrated && score !== undefined ? `: ${meaning(score)}` : "");
}

function bars({ predictions }) {
  const ranking = [...predictions].sort((a, b) => b.score - a.score);
  const rows = ranking.map(({ label, score }) => el("li", {},
    el("span", { class: "bar-label" }, label),
    svg("svg", { class: "bar", "aria-hidden": "true" },
      svg("rect", { class: "bar-fill", height: "100%", width: `${Math.max(0, Math.min(1, score)) * 100}%` })),
    el("span", { class: "number" }, score.toFixed(2))));
  const hidden = rows.slice(SHOWN_LABELS);
  return [
    el("ul", { class: "bars", "aria-label": "Scores" }, rows.slice(0, SHOWN_LABELS)),
    hidden.length ? el("details", {},
      el("summary", {}, `${hidden.length} more labels`), el("ul", { class: "bars" }, hidden)) : null,
  ];
}
