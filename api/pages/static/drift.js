/** Drift of a version by day: how far what it classifies differs from what it was judged on. */

import { call, image } from "./api.js";
import { count, el, percent, table } from "./dom.js";

const PATH = "/v1/classifiers/{classifier_id}/drift";
const WINDOW = "30d";
const MEASURES = [
  ["labels", "labels (PSI)"], ["confidence", "confidence (PSI)"], ["embedding", "mean embedding (distance)"],
];

/** The section of a classifier's page about its live version; null where drift is not measured. */
export async function drift({ ref, offer, signal }) {
  if (!offer.has(PATH)) return null;
  const path = `v1/classifiers/${encodeURIComponent(ref)}/drift?window=${WINDOW}`;
  const report = await call(path, { signal });
  const compared = report.days.filter((day) => day.measures);
  return el("section", { class: "panel" }, el("h2", {}, `Drift of version ${report.version}, which is live`),
    el("p", {}, verdict(report, compared)),
    compared.length ? el("figure", {},
      el("figcaption", {}, "Each measure over its threshold, day by day"),
      await image(path, `Drift by day: ${compared.map(sentence).join("; ")}`,
        { signal, headers: { Accept: "image/svg+xml" } })) : null,
    report.days.length ? table("Days with items (UTC), newest first",
      ["day", "items", "uncertain", ...MEASURES.map(([, title]) => title), "drifted"],
      report.days.toReversed().map((day) => [
        day.date, count(day.items), percent(day.uncertain),
        ...MEASURES.map(([name]) => day.measures && of(day.measures[name])),
        day.drifted ? el("span", { class: "error" }, "yes") : "no",
      ]), { numeric: [1, 2, 3, 4, 5] }) : null);
}

/** The state of the last 30 days in a sentence. */
function verdict(report, compared) {
  if (!report.observe) return "What this classifier classifies is not counted: observe is off.";
  if (!report.days.length) return "It has classified nothing in the last 30 days, or not by a worker yet.";
  if (!report.reference) return "What it was trained on is not known, as of an imported version: nothing to compare with.";
  const drifted = compared.filter((day) => day.drifted);
  if (!drifted.length) return "What came in is like what it was trained and judged on.";
  return `What came in differs from what it was trained and judged on, on ${drifted.length} of ${compared.length} days; the last one is ${drifted.at(-1).date}.`;
}

const of = ({ value, threshold }) => `${value.toFixed(2)} of ${threshold.toFixed(2)}`;

const sentence = (day) => `${day.date} ${day.drifted ? "drifted" : "not drifted"}, ${count(day.items)} items`;
