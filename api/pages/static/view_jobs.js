/** The list of jobs, and one of them. */

import { call, download } from "./api.js";
import { action } from "./actions.js";
import { el, facts, field, moment, select, table } from "./dom.js";
import { evaluation } from "./evaluation.js";
import { ENDED, follow } from "./live.js";
import { progress, status } from "./progress.js";
import { decision, reportButton } from "./retraining.js";

const PAGE = 20;
const batchId = (job) => job.id.replace("job_", "batch_");

/** A link to the page of a job; a batch has its own. */
export function jobLink(job) {
  const [id, href] = job.kind === "batch"
    ? [batchId(job), `#/batches/${batchId(job)}`]
    : [job.id, `#/jobs/${job.id}`];
  return el("a", { href }, el("code", {}, id));
}

export async function jobsView({ place, offer, signal }) {
  const parameter = (name) => offer.paths["/v1/jobs"].get.parameters
    .find((each) => each.name === name).schema.enum.map((value) => [value, value]);
  const kind = select([["", "all"], ...parameter("kind")]);
  const state = select([["", "all"], ...parameter("status")]);
  const list = el("div");
  const more = el("p");

  const load = async (after = null) => {
    const query = new URLSearchParams({ limit: PAGE });
    if (kind.value) query.set("kind", kind.value);
    if (state.value) query.set("status", state.value);
    if (after) query.set("after", after);
    const answer = await call(`v1/jobs?${query}`, { signal });
    const rows = answer.data.map((job) => [
      jobLink(job), job.kind, status(job), moment(job.created_at), moment(job.finished_at),
      `${job.progress.completed + job.progress.failed} of ${job.progress.total}`,
    ]);
    const page = table(after ? "Older jobs" : "Jobs, newest first",
      ["job", "kind", "status", "created", "ended", "items"], rows, { numeric: [5] });
    if (after) list.append(page);
    else list.replaceChildren(page);
    more.replaceChildren(...(answer.has_more ? [action("Older jobs", () => load(answer.last_id))] : []));
  };
  for (const choice of [kind, state]) choice.addEventListener("change", () => load());
  place.replaceChildren(el("section", { class: "panel" },
    el("div", { class: "row" }, field("Kind", kind), field("Status", state)), list, more));
  await load();
}

export async function jobView({ place, argument, signal }) {
  const live = el("div");
  const result = el("div");
  const cancel = action("Cancel", async () => {
    render(await call(`v1/jobs/${argument}`, { method: "DELETE" }));
  }, { danger: true, confirm: "Cancel this job?" }); // not drawn anew with each state: it may ask
  place.replaceChildren(el("section", { class: "panel" }, live, cancel), result);
  const render = (job) => {
    live.replaceChildren(
      facts([
        ["Kind", job.kind], ["Status", status(job)], ["Phase", job.phase], ["Created", moment(job.created_at)],
        ["Started", moment(job.started_at)], ["Ended", moment(job.finished_at)],
        ["Kept until", moment(job.expires_at)], ["Tokens", String(job.usage.total_tokens)],
        ["Metadata", job.metadata && JSON.stringify(job.metadata)],
      ]),
      progress(job.progress),
      job.error ? el("p", { class: "error" }, `${job.error.code}: ${job.error.detail}`) : "");
    cancel.hidden = ENDED.has(job.status);
  };
  const first = await call(`v1/jobs/${argument}`, { signal });
  render(first);
  let last = first;
  if (!ENDED.has(first.status)) {
    for await (last of follow(`v1/jobs/${argument}`, signal)) render(last);
  }
  if (!signal.aborted && last.status === "succeeded") result.replaceChildren(await outcome(last, signal));
}

async function outcome(job, signal) {
  const path = `v1/jobs/${job.id}/result`;
  const save = action("Download the result", () => download(path, `${job.id}.json`));
  if (job.kind === "evaluate") {
    return el("section", { class: "panel" }, el("h2", {}, "Evaluation"),
      evaluation(await call(path, { signal })), save);
  }
  if (job.kind === "retrain" && job.result) {
    const { classifier_id: id, id: runId } = job.result;
    const of = `v1/classifiers/${id}`;
    return el("section", { class: "panel" }, el("h2", {}, "Decision"), await decision(of, runId, signal),
      el("p", { class: "row" }, reportButton(of, runId), el("a", { href: `#/classifiers/${id}` }, "Go to the classifier")));
  }
  const json = job.result ? el("pre", { tabindex: 0, role: "region", "aria-label": "Result" },
    el("code", {}, JSON.stringify(job.result, null, 2))) : null;
  return el("section", { class: "panel" }, el("h2", {}, "Result"), json, save);
}
