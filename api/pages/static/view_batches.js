/** The list of batches, a new one, and one with its errors and files. */

import { call, download, runToEnd } from "./api.js";
import { action, form } from "./actions.js";
import { count, duration, el, facts, field, moment, plural, select, table } from "./dom.js";
import { errorGroups, readErrors } from "./error_groups.js";
import { ENDED, follow } from "./live.js";
import { batchProgress, status } from "./progress.js";

const PAGE = 20;

export async function batchesView({ place, signal }) {
  const list = el("div");
  const more = el("p");
  const load = async (after = null) => {
    const query = new URLSearchParams({ limit: PAGE, ...(after && { after }) });
    const page = await call(`v1/batches?${query}`, { signal });
    list.append(table(after ? "Older batches" : "Batches, newest first",
      ["batch", "status", "created", "rows", "failed"],
      page.data.map((batch) => [
        el("a", { href: `#/batches/${batch.id}` }, el("code", {}, batch.id)),
        status(batch), moment(batch.created_at),
        count(batch.request_counts.total), count(batch.request_counts.failed),
      ]), { numeric: [3, 4] }));
    more.replaceChildren(...(page.has_more ? [action("Older batches", () => load(page.last_id))] : []));
  };
  place.replaceChildren(el("section", { class: "panel" },
    el("p", {}, el("a", { href: "#/batches/new" }, "Start a new batch")), list, more));
  await load();
}

export async function newBatchView({ place, offer, signal }) {
  const classifiers = await call("v1/classifiers", { signal }).catch(() => []);
  const file = el("input", { type: "file", required: true, accept: ".csv,.tsv,.jsonl,.parquet,.gz,.zst" });
  const labels = el("input", { placeholder: "delivery, billing, bug" });
  const by = select([["", "labels that I name here"],
    ...classifiers.map((each) => [each.classifier_id, `classifier ${each.name ?? each.classifier_id}`])]);
  const text = el("input", { placeholder: "text" });
  const id = el("input", { placeholder: "none: rows have numbers" });
  const format = select(offer.values("BatchBody", "output_format").map((value) => [value, value]), {}, "csv");
  const labelField = field("Labels, separated by commas", labels);
  by.addEventListener("change", () => { labelField.hidden = Boolean(by.value); });

  let upload = null; // {file, id}: a check and a start share one upload
  const body = async (status) => {
    const names = labels.value.split(",").map((name) => name.trim()).filter(Boolean);
    const rows = file.files[0];
    if (!by.value && names.length < 2) throw new Error("Name at least two labels.");
    if (upload?.file !== rows) {
      status(`Uploading ${rows.name} …`);
      const data = new FormData();
      data.set("purpose", "batch");
      data.set("file", rows);
      upload = { file: rows, id: (await call("v1/files", { method: "POST", body: data })).id };
    }
    return {
      input_file_id: upload.id,
      classify: { top_k: 1, ...(by.value ? { classifier_id: by.value } : { labels: names }) },
      output_format: format.value,
      ...(text.value.trim() && { text_column: text.value.trim() }),
      ...(id.value.trim() && { id_column: id.value.trim() }),
    };
  };
  const report = el("div");
  const check = action("Check first", async () => {
    if (!start.reportValidity()) return;
    const forecast = await runToEnd("v1/batches?dry_run=true", { method: "POST", body: await body(() => {}) });
    report.replaceChildren(dryRun(forecast));
  });
  const start = form("New batch", el("div", { class: "fields" },
    field("File of rows: CSV, JSONL or Parquet", file), field("Classify by", by), labelField,
    field("Column of the text", text), field("Column of the id", id), field("Format of the output", format)),
  "Start the batch", async (status) => {
    const batch = await call("v1/batches", { method: "POST", body: await body(status) });
    location.hash = `#/batches/${batch.id}`;
  });
  place.replaceChildren(el("section", { class: "panel" }, start, check, report));
}

function dryRun(forecast) {
  return el("div", { role: "status" },
    el("p", { class: forecast.valid ? "good" : "error" },
      forecast.valid ? "The batch can run." : "The file cannot be read."),
    facts([
      ["Format", forecast.format], ["Rows", count(forecast.request_counts.total)],
      ["Rows that would fail", count(forecast.request_counts.invalid)],
      ["Tokens", `${forecast.usage_estimate.exact ? "" : "about "}${count(forecast.usage_estimate.tokens)}`],
      ["Time", duration(forecast.estimated_seconds)],
    ]),
    forecast.errors ? errorGroups(forecast.errors.data) : "");
}

export async function batchView({ place, argument, signal, fail }) {
  const live = el("div");
  const controls = el("div", { class: "row" });
  const errors = el("div");
  place.replaceChildren(el("section", { class: "panel" }, live, controls), errors);
  const path = `v1/batches/${argument}`;
  let shown = null; // the status of the controls: a question that is being answered stays
  const render = (batch) => {
    live.replaceChildren(el("p", {}, status(batch)), batchProgress(batch), description(batch));
    if (batch.status === shown) return;
    shown = batch.status;
    controls.replaceChildren(...actions(batch, render).filter(Boolean));
  };
  let batch = await call(path, { signal });
  render(batch);
  if (!ENDED.has(batch.status)) {
    for await (batch of follow(path, signal)) render(batch);
  }
  if (signal.aborted) return;
  if (batch.errors) errors.replaceChildren(el("section", { class: "panel" }, errorGroups(batch.errors.data)));
  if (batch.error_file_id) {
    readErrors(batch.error_file_id, signal).then(
      ({ rows, whole }) => errors.replaceChildren(el("section", { class: "panel" }, errorGroups(rows, whole))),
      (error) => signal.aborted || fail(error));
  }
}

const description = (batch) => facts([
  ["Model", batch.model], ["Endpoint", batch.endpoint], ["Format", batch.format],
  ["Created", moment(batch.created_at)], ["Began", moment(batch.in_progress_at)],
  ["Ended", moment(batch.completed_at ?? batch.failed_at ?? batch.expired_at ?? batch.cancelled_at)],
  ["Tokens", batch.usage && count(batch.usage.total_tokens)],
  ["Retry of", batch.retry_of && el("a", { href: `#/batches/${batch.retry_of}` }, batch.retry_of)],
  ["Most frequent error", batch.summary && `${batch.summary.most_frequent_error}, ${plural(batch.summary.count, "row")}`],
  ["Metadata", batch.metadata && JSON.stringify(batch.metadata)],
]);

/** What can be done with a batch in its status. */
function actions(batch, render) {
  const path = `v1/batches/${batch.id}`;
  if (!ENDED.has(batch.status)) {
    return [
      action("Rows that are finished", () => download(`${path}/output`, `${batch.id}.jsonl`)),
      action("Cancel", async () => render(await call(`${path}/cancel`, { method: "POST" })),
        { danger: true, confirm: "Cancel? Finished rows are kept." }),
    ];
  }
  const retry = (rows) => async () => {
    const batch = await call(`${path}/retry`, { method: "POST", body: { rows } });
    location.hash = `#/batches/${batch.id}`;
  };
  return [
    batch.output_file_id && action("Download the output", () => save(batch.output_file_id)),
    batch.error_file_id && action("Download the errors", () => save(batch.error_file_id)),
    batch.summary?.retryable ? action(`Retry ${plural(batch.summary.retryable, "row")}`, retry("retryable")) : null,
    batch.request_counts.failed ? action("Retry all failed rows", retry("all")) : null,
  ];
}

async function save(fileId) {
  const { filename } = await call(`v1/files/${fileId}`);
  await download(`v1/files/${fileId}/content`, filename);
}
