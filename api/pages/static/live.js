/** What goes on: events while there are slots for them, polls otherwise. */

import { ApiError, call, events } from "./api.js";

export const POLL_MS = 4000;
const RATE_WINDOW_S = 10;

export const ENDED = new Set(["succeeded", "failed", "cancelled", "expired", "completed"]);

/** Waits; ends early, without an error, where the view is left. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}

/** Each new state of a job or batch at a path, until it has ended or the view is left. */
export async function* follow(path, signal) {
  while (!signal.aborted) {
    try {
      for await (const state of events(`${path}/events`, { signal })) {
        yield state;
        if (ENDED.has(state.status)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      // All slots of event streams are taken, or the connection broke: polls go on.
      if (error instanceof ApiError && ![429, 502, 503].includes(error.status)) throw error;
    }
    await pause(POLL_MS, signal);
    if (signal.aborted) return;
    const state = await call(path, { signal });
    yield state;
    if (ENDED.has(state.status)) return;
  }
}

/** Items a second of a job, from its counts of the last seconds. */
export class Rate {
  constructor() {
    this.seen = []; // [seconds, items]
  }

  /** Notes a count and returns the rate; null until there are two. */
  of(done) {
    const now = performance.now() / 1000;
    this.seen.push([now, done]);
    while (this.seen.length > 2 && now - this.seen[0][0] > RATE_WINDOW_S) this.seen.shift();
    const [[began, before]] = this.seen;
    return now - began > 0.5 ? (done - before) / (now - began) : null;
  }
}
