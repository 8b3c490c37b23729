/** Plots as SVG. Each has a sentence for a reader who does not see it. */

import { el, percent, svg } from "./dom.js";

const WIDTH = 320;
const HEIGHT = 220;
const LEFT = 40;
const BOTTOM = 34;
const TOP = 10;

/** A share of a whole as a bar. */
export function bar(share, label) {
  const width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return svg("svg", { class: "bar", role: "img", "aria-label": label },
    svg("rect", { class: "bar-fill", height: "100%", width }));
}

/** Points over axes; `y` is 0 to 1. */
function plot(label, points, { xTitle, yTitle, min, max, ideal = false, format = String }) {
  const x = (value) => LEFT + ((value - min) / (max - min || 1)) * (WIDTH - LEFT - 12);
  const y = (value) => TOP + (1 - value) * (HEIGHT - TOP - BOTTOM);
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  return svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    svg("path", { class: "axis", d: `M${LEFT} ${TOP}V${y(0)}H${WIDTH - 12}` }),
    ticks.map((tick) => svg("text", { x: LEFT - 5, y: y(tick) + 4, "text-anchor": "end" }, percent(tick))),
    svg("text", { x: x(min), y: HEIGHT - 20, "text-anchor": "middle" }, format(min)),
    svg("text", { x: x(max), y: HEIGHT - 20, "text-anchor": "end" }, format(max)),
    svg("text", { x: WIDTH / 2, y: HEIGHT - 5, "text-anchor": "middle" }, `${yTitle} by ${xTitle}`),
    ideal ? svg("path", { class: "ideal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }) : null,
    svg("polyline", { class: "line", points: points.map((p) => `${x(p.x)},${y(p.y)}`).join(" ") }),
    points.map((p) => svg("circle", { class: "dot", cx: x(p.x), cy: y(p.y), r: 3.5 },
      svg("title", {}, p.title))));
}

/** How the accuracy grew with the examples. */
export function learningCurve(curve) {
  const points = curve.map(({ examples, accuracy }) => ({
    x: examples, y: accuracy, title: `${examples} examples: ${percent(accuracy)}`,
  }));
  const last = curve.at(-1);
  return plot(
    `Learning curve: ${percent(last.accuracy)} of examples predicted right after ${last.examples} examples`,
    points,
    { xTitle: "examples", yTitle: "accuracy", min: Math.min(0, curve[0].examples), max: last.examples });
}

/** How often answers of a score are right; the diagonal is ideal. */
export function reliability(bins) {
  const points = bins.filter((bin) => bin.count).map(({ confidence, accuracy, count }) => ({
    x: confidence, y: accuracy, title: `score ${confidence.toFixed(2)}: ${percent(accuracy)} right, of ${count}`,
  }));
  return plot(`Reliability: ${points.map((point) => point.title).join("; ")}`, points, {
    xTitle: "score", yTitle: "accuracy", min: 0, max: 1, ideal: true,
  });
}

/** True labels as rows, predicted labels as columns; the share of the row is the shade. */
export function confusion({ labels, counts }) {
  const shaded = (number, row) => {
    const share = number / (row.reduce((sum, each) => sum + each, 0) || 1);
    return el("td", { class: `number shade-${Math.round(share * 5)}` }, String(number));
  };
  return el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Confusion matrix" },
    el("table", { class: "confusion" },
      el("caption", {}, "Confusion matrix: rows are true labels, columns are predicted labels"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "true label"),
        labels.map((label) => el("th", { scope: "col", class: "number" }, label)))),
      el("tbody", {}, counts.map((row, index) => el("tr", {},
        el("th", { scope: "row" }, labels[index]), row.map((number) => shaded(number, row)))))));
}
