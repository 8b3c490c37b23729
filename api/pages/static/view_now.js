/** What runs now, with live rates, and what ended last. */

import { call } from "./api.js";
import { el, moment, table } from "./dom.js";
import { ENDED, POLL_MS, Rate, follow, pause } from "./live.js";
import { batchProgress, progress, status } from "./progress.js";
import { jobLink } from "./view_jobs.js";

const MAX_FOLLOWED = 3; // a browser opens six connections to a host, and each stream holds one
const ACTIVE = ["running", "queued", "finalising", "cancelling"];
const ENDED_SHOWN = 10;

export async function nowView({ place, signal, fail }) {
  const running = el("ul", { class: "cards running", "aria-label": "What runs now" });
  const none = el("p", { class: "hint", role: "status" }, "Nothing runs now.");
  const ended = el("div");
  const cards = new Map(); // job id -> card
  let followers = 0;
  place.replaceChildren(
    el("section", { class: "panel" }, el("h2", {}, "Running"), none, running),
    el("section", { class: "panel" }, ended));

  const watch = async (job) => {
    const card = cards.get(job.id);
    followers += 1;
    try {
      for await (const state of follow(card.path, signal)) card.show(state);
    } finally {
      followers -= 1;
    }
  };

  while (!signal.aborted) {
    const active = (await Promise.all(ACTIVE.map((each) =>
      call(`v1/jobs?limit=20&status=${each}`, { signal })))).flatMap((page) => page.data);
    for (const job of active) {
      if (!cards.has(job.id)) {
        cards.set(job.id, new Card(job));
        running.append(cards.get(job.id).element);
        if (followers < MAX_FOLLOWED) watch(job).catch((error) => signal.aborted || fail(error));
      } else if (job.kind !== "batch") cards.get(job.id).show(job);
    }
    for (const [id, card] of cards) {
      if (card.ended || !active.some((job) => job.id === id)) {
        card.element.remove();
        cards.delete(id);
      }
    }
    none.hidden = cards.size > 0;
    const { data } = await call("v1/jobs?limit=30", { signal });
    const last = data.filter((job) => ENDED.has(job.status)).slice(0, ENDED_SHOWN);
    ended.replaceChildren(table("Ended last", ["job", "kind", "status", "ended"],
      last.map((job) => [jobLink(job), job.kind, status(job), moment(job.finished_at)])));
    await pause(POLL_MS, signal);
  }
}

/** A running job or batch. */
class Card {
  constructor(job) {
    this.rate = new Rate();
    this.batch = job.kind === "batch";
    this.path = this.batch ? `v1/batches/${job.id.replace("job_", "batch_")}` : `v1/jobs/${job.id}`;
    this.body = el("div");
    this.element = el("li", {}, el("p", {}, jobLink(job), " ", el("span", { class: "tag" }, job.kind)), this.body);
    this.show(job, { first: true });
  }

  get ended() {
    return this.state && ENDED.has(this.state.status);
  }

  show(state) {
    this.state = state;
    if (state.object === "batch") {
      this.body.replaceChildren(status(state), batchProgress(state));
      return;
    }
    const { total, completed, failed } = state.progress;
    const rate = this.rate.of(completed + failed);
    const left = rate ? (total - completed - failed) / rate : null;
    this.body.replaceChildren(status(state), progress(state.progress, { rate, left }));
  }
}
