/** Requests and tokens of the account, by day and by what the API groups by. */

import { call } from "./api.js";
import { count, el, field, select, table } from "./dom.js";

const DAYS = [["1", "today"], ["7", "7 days"], ["30", "30 days"]];

export async function usageView({ place, offer, signal }) {
  const groups = offer.paths["/v1/usage"].get.parameters
    .find((each) => each.name === "group_by")?.schema.enum ?? ["day"];
  const group = select(groups.map((value) => [value, value]));
  const days = select(DAYS, {}, "7");
  const list = el("div");
  const load = async () => {
    const from = new Date(Date.now() - (days.value - 1) * 86_400_000).toISOString().slice(0, 10);
    const answer = await call(`v1/usage?${new URLSearchParams({ from, group_by: group.value })}`, { signal });
    list.replaceChildren(rows(answer.data ?? answer));
  };
  for (const choice of [group, days]) choice.addEventListener("change", load);
  place.replaceChildren(el("section", { class: "panel" },
    el("div", { class: "row" }, field("By", group), field("Time", days)), list));
  await load();
}

/** A table of whatever columns the rows have: names first, numbers after. */
function rows(data) {
  const names = Object.keys(data[0] ?? {}).filter((name) => name !== "object");
  const isNumber = (name) => data.every((row) => typeof row[name] === "number");
  const columns = [...names.filter((name) => !isNumber(name)), ...names.filter(isNumber)];
  const numeric = columns.flatMap((name, index) => (isNumber(name) ? [index] : []));
  return table("Usage", columns.map((name) => name.replaceAll("_", " ")),
    data.map((row) => columns.map((name) => (isNumber(name) ? count(row[name]) : String(row[name] ?? "–")))),
    { numeric });
}
