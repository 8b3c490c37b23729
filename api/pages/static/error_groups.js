/** Errors of rows, grouped by what is wrong. */

import { send } from "./api.js";
import { count, el, plural, table } from "./dom.js";

const MAX_READ_BYTES = 2 << 20; // of an error file, which has a line for each failed row
const LINES_NAMED = 5;

/** The rows of an error file, `{code, message, line}`, as far as they are read. */
export async function readErrors(fileId, signal) {
  const response = await send(`v1/files/${fileId}/content`, {
    signal, headers: { Range: `bytes=0-${MAX_READ_BYTES - 1}` },
  });
  const text = await response.text();
  const size = Number(response.headers.get("Content-Range")?.split("/")[1] ?? 0);
  const whole = size <= MAX_READ_BYTES;
  const lines = text.split("\n");
  if (!whole) lines.pop(); // cut within
  return { rows: lines.filter(Boolean).map(row), whole };
}

/** The error of a line: of a row, or of a request as OpenAI has it. */
function row(line) {
  const { line: number, id, custom_id: custom, error, response } = JSON.parse(line);
  const fault = error ?? response?.body?.error ?? response?.body ?? {};
  return { code: fault.code ?? "unknown", message: fault.message ?? fault.detail ?? "", line: number, id: id ?? custom };
}

/** A table of the groups, the largest first. */
export function errorGroups(rows, whole = true) {
  const groups = Object.groupBy(rows, (each) => each.code);
  const bySize = Object.entries(groups).sort(([, a], [, b]) => b.length - a.length);
  return el("div", {},
    whole ? null : el("p", { class: "hint" }, `The first ${plural(rows.length, "failed row")}; the file has all.`),
    table("Errors, grouped", ["error", "rows", "message of the first", "lines"],
      bySize.map(([code, of]) => [
        code, count(of.length), of[0].message,
        of.slice(0, LINES_NAMED).map((each) => each.line ?? each.id ?? "–").join(", ")
          + (of.length > LINES_NAMED ? " …" : ""),
      ]), { numeric: [1] }));
}
