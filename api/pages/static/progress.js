/** How far a job or a batch is. */

import { bar } from "./charts.js";
import { count, duration, el, percent, plural } from "./dom.js";

/** `{total, completed, failed}`, with the rate and the time left where they are known. */
export function progress({ total, completed, failed }, { rate = null, left = null, waiting = null } = {}) {
  const done = completed + failed;
  const share = total ? done / total : 0;
  const parts = [
    `${count(done)} of ${total ? count(total) : "an unknown number"}`,
    failed ? `${count(failed)} failed` : null,
    rate === null ? null : `${rate < 10 ? rate.toFixed(1) : count(Math.round(rate))} a second`,
    left === null ? null : `${duration(left)} left`,
    waiting && `waits for ${waiting}`,
  ];
  return el("div", { class: "progress" },
    bar(share, `${percent(share)} done`), el("span", {}, parts.filter(Boolean).join(", ")));
}

/** The progress of a batch object. */
export const batchProgress = (batch) => progress(batch.request_counts, {
  rate: batch.progress.rate_per_s,
  left: batch.progress.seconds_left,
  waiting: batch.progress.waiting_for,
});

/** The tag of a status; a batch that ended with failed rows says so. */
export function status(of) {
  const failed = of.request_counts?.failed ?? of.progress?.failed ?? 0;
  const partly = failed && ["completed", "succeeded"].includes(of.status);
  return el("span", { class: "tag" }, partly ? `${of.status}, ${plural(failed, "row")} failed` : of.status);
}
