/** The retraining of a classifier: its schedule, and its runs with the reasons of each decision. */

import { call, image, openTab, sentence } from "./api.js";
import { action, form, orError } from "./actions.js";
import { count, el, facts, field, moment, percent, select, table } from "./dom.js";
import { follow } from "./live.js";
import { progress } from "./progress.js";

const PATH = "/v1/classifiers/{classifier_id}/retraining/runs";
const RUNS = 20;

const digits = (value) => value.toFixed(3);

/** The settings of the retraining of a classifier; null if it is not retrained. */
export async function settingsOf({ path, offer, signal }) {
  if (!offer.has(PATH)) return null;
  return call(`${path}/retraining`, { signal }).catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });
}

/** The section of a classifier's page; null where the service does not retrain. */
export async function retraining({ path, settings, offer, signal, again }) {
  if (!offer.has(PATH)) return null;
  const runs = settings ? (await call(`${path}/retraining/runs?limit=${RUNS}`, { signal })).data : [];
  return el("section", { class: "panel" }, el("h2", {}, "Retraining"),
    settings?.last_rollback ? lastRollback(settings.last_rollback) : null,
    settings ? schedule(settings) : el("p", { class: "hint" }, "This classifier is not retrained."),
    schedulingForm(settings, path, again),
    settings ? controls(settings, path, again) : null,
    settings?.active_run ? activeRun(settings.active_run, { signal, again }) : null,
    await orError("Learning curve", learningCurve(runs, path, signal)),
    settings && !runs.length && !settings.active_run ? el("p", { class: "hint" }, "No run yet.") : null,
    await Promise.all(runs.map((run, index) => runDetails(run, { path, signal, again, open: index === 0 }))));
}

/** What a run decided and why, in the sentences of its report. */
export async function decision(path, runId, signal) {
  const report = await call(`${path}/retraining/runs/${runId}/report`,
    { signal, headers: { Accept: "application/json" } });
  return el("div", {}, el("p", {}, el("strong", {}, report.headline)),
    report.summary.map((sentence) => el("p", {}, sentence)));
}

/** Opens the report of a run in a tab. */
export const reportButton = (path, runId) => action("Open the report",
  () => openTab(`${path}/retraining/runs/${runId}/report`, "text/html"));

/** The figures of the live version and of all challengers, up to the newest run that has compared. */
async function learningCurve(runs, path, signal) {
  const newest = runs.find((run) => run.metrics);
  if (!newest) return null;
  const plot = `${path}/retraining/runs/${newest.id}/plots/learning_curve.svg`;
  const { champion, challenger } = newest.metrics;
  const live = newest.status === "promoted" ? challenger : champion;
  return el("figure", {}, el("figcaption", {}, "Macro F1 on the holdout, run by run"),
    await image(plot, `Learning curve over runs: macro F1 of the live version is ${digits(live.macro_f1)}`, { signal }));
}

const schedule = (settings) => facts([
  ["Enabled", settings.enabled ? "yes" : "no"],
  ["Schedule", settings.schedule ? `${settings.schedule} (${settings.timezone})` : "by call only"],
  ["Next run", moment(settings.next_run_at)], ["Method", settings.method],
  ["Promote", settings.promote.replaceAll("_", " ")], ["Alias", settings.alias],
  ["Metric of the gate", settings.gate.metric],
]);

/** The latest time that the alias was moved back, and why. */
const lastRollback = (rollback) => el("p", { class: "error" },
  `Last rollback${rollback.automatic ? ", by the service" : ""}: from version ${rollback.from_version} to `,
  `version ${rollback.to_version}, `, moment(rollback.at), `: ${rollback.reason}.`);

/** How the promoted version does on feedback, against the one before. */
const liveCheck = ({ items, correct, window, baseline, outcome }) =>
  `${outcome}: ${correct} of ${items} correct, of ${window} to come; before ${percent(baseline)}`;

/** The run that goes on, live; at its end the page shows what it has decided. */
function activeRun(runId, { signal, again }) {
  const phase = el("p", { role: "status" }, "A run has started.");
  const live = el("div");
  const watch = async () => {
    for await (const job of follow(`v1/jobs/${runId.replace("run_", "job_")}`, signal)) {
      const words = `A run goes on: ${job.phase ?? job.status}.`;
      if (phase.textContent !== words) phase.textContent = words;
      live.replaceChildren(progress(job.progress));
    }
    if (!signal.aborted) again();
  };
  watch().catch((error) => { if (!signal.aborted) phase.textContent = sentence(error); });
  return el("div", {}, phase, live);
}

function schedulingForm(settings, path, again) {
  const cron = el("input", { value: settings ? settings.schedule ?? "" : "0 2 * * *", autocomplete: "off" });
  const zone = el("input", {
    value: settings?.timezone ?? Intl.DateTimeFormat().resolvedOptions().timeZone, autocomplete: "off",
  });
  const promote = select([
    ["if_better", "if it is better"], ["ask", "after a person agrees"], ["always", "always"],
  ], {}, settings?.promote ?? "if_better");
  const enabled = select([["true", "yes"], ["false", "no"]], {}, String(settings?.enabled ?? true));
  return form("Retraining", el("div", { class: "fields" },
    field("Schedule (cron; empty: by call only)", cron), field("Time zone", zone),
    field("Promote the challenger", promote), field("Enabled", enabled)),
  settings ? "Change the retraining" : "Retrain this classifier", async () => {
    await call(`${path}/retraining`, {
      method: settings ? "PATCH" : "PUT",
      body: {
        schedule: cron.value.trim() || null,
        timezone: zone.value.trim(),
        promote: promote.value,
        enabled: enabled.value === "true",
      },
    });
    again();
  });
}

function controls(settings, path, again) {
  const then = (target, options) => async () => {
    await call(`${path}/retraining${target}`, options);
    again();
  };
  return el("p", { class: "row" },
    action("Start a run now", then("/runs", { method: "POST", body: {} })),
    action("Try a run", then("/runs", { method: "POST", body: { dry_run: true } })),
    action("Roll back the last promotion", then("/rollback", { method: "POST" }),
      { confirm: `Move ${settings.alias} back to the version before?` }),
    action("Stop retraining", then("", { method: "DELETE" }),
      { danger: true, confirm: "Delete the retraining with its runs and its holdout?" }));
}

/** One run: what was decided, why, and both versions side by side. */
async function runDetails(run, { path, signal, again, open }) {
  const decide = (verb) => async () => {
    await call(`${path}/retraining/runs/${run.id}/${verb}`, { method: "POST" });
    again();
  };
  const { metrics, test } = run;
  const words = open && run.finished_at
    ? await orError("Decision", decision(path, run.id, signal)) : null;
  return el("details", { open },
    el("summary", {}, el("span", { class: "tag" }, run.status), " ", moment(run.started_at),
      run.dry_run ? " (dry run)" : ""),
    run.finished_at ? null : progress({ ...run.progress, failed: 0 }),
    run.error ? el("p", { class: "error" }, run.error) : null,
    run.rolled_back_at ? el("p", { class: "error" },
      "Rolled back ", moment(run.rolled_back_at), `: ${run.rollback_reason}.`) : null,
    words,
    run.decision ? [el("h3", {}, `Decision: ${run.decision.outcome}`),
      el("ul", {}, run.decision.reasons.map((reason) => el("li", {}, reason)))] : null,
    el("p", { class: "row" },
      reportButton(path, run.id),
      run.status === "waiting"
        ? [action("Promote", decide("promote")), action("Reject", decide("reject"), { danger: true })] : null),
    facts([
      ["Champion", run.champion && `version ${run.champion}`],
      ["Challenger", run.challenger && `version ${run.challenger}`],
      ["Started by", run.trigger], ["Ended", moment(run.finished_at)],
      ["Live check on feedback", run.live_check && liveCheck(run.live_check)],
      ...Object.entries(run.counts).map(([name, number]) => [`Rows: ${name.replaceAll("_", " ")}`, count(number)]),
      ["Gain", test && digits(test.gain)],
      ["Interval of the gain", test?.interval && test.interval.map(digits).join(" to ")],
      ["p-value", test && digits(test.p_value)],
      ["New labels", run.new_labels.join(", ")], ["Labels without new examples", run.missing_labels.join(", ")],
    ]),
    metrics ? [
      table("Both versions on the same holdout", ["figure", "champion", "challenger"],
        Object.keys(metrics.champion).map((name) => [
          name.replaceAll("_", " "), digits(metrics.champion[name]), digits(metrics.challenger[name]),
        ]), { numeric: [1, 2] }),
      table("F1 by label", ["label", "examples", "champion", "challenger"],
        metrics.labels.map((each) => [
          each.label, count(each.support), digits(each.champion_f1), digits(each.challenger_f1),
        ]), { numeric: [1, 2, 3] }),
    ] : null,
    run.bad_rows.length ? table("Rows that were not used", ["place", "reason"],
      run.bad_rows.map((row) => [row.place, row.message])) : null);
}
