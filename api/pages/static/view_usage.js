/** The account: its balance and rates, its usage by day and by what the API groups by, its keys. */

import { call } from "./api.js";
import { count, duration, el, facts, field, select, table } from "./dom.js";
import { keys } from "./keys.js";

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
  const sections = [
    await account(offer, signal),
    el("section", { class: "panel" }, el("h2", {}, "Usage"),
      el("div", { class: "row" }, field("By", group), field("Time", days)), list),
    offer.has("/v1/keys") ? await keys({ signal }) : null,
  ];
  await load();
  place.replaceChildren(...sections.filter(Boolean));
}

async function account(offer, signal) {
  if (!offer.has("/v1/account")) return null;
  const own = await call("v1/account", { signal });
  return el("section", { class: "panel" }, el("h2", {}, own.name || own.id),
    facts([
      ["Tier", own.tier], ["Classifiers allowed", count(own.limits.classifiers)],
      ["Concurrent calls allowed", own.limits.concurrent_calls],
      ["Tokens left", own.balance == null ? "unlimited" : count(own.balance)],
      ["Tokens used today (UTC)", count(own.used.today)],
      ["Tokens used this month", count(own.used.month)],
    ]),
    own.rates.length ? table("Rates", ["policy", "limit", "left", "full again in"],
      own.rates.map((rate) => [rate.policy, count(rate.limit), count(rate.remaining), duration(rate.reset)]),
      { numeric: [1, 2, 3] }) : null);
}

/** A table of whatever columns the rows have: names first, numbers after. */
function rows(data) {
  const names = Object.keys(data[0] ?? {}).filter((name) => name !== "object");
  const isNumber = (name) => data.every((row) => typeof row[name] === "number");
  const columns = [...names.filter((name) => !isNumber(name)), ...names.filter(isNumber)];
  const numeric = columns.flatMap((name, index) => (isNumber(name) ? [index] : []));
  return table("Usage by group", columns.map((name) => name.replaceAll("_", " ")),
    data.map((row) => columns.map((name) => (isNumber(name) ? count(row[name]) : String(row[name] ?? "–")))),
    { numeric });
}
