/** The parts of the service, its queues and processes, and the models that workers hold. */

import { call, send } from "./api.js";
import { el, facts, table } from "./dom.js";

export async function systemView({ place, signal }) {
  const [health, models, metrics] = await Promise.all([
    readiness(signal),
    call("v1/models", { signal }),
    send("metrics", { signal }).then((response) => response.text()).catch(() => ""),
  ]);
  const gauges = [...metrics.matchAll(
    /^pigeonhole_(queue_waiting|live_processes)\{.*?(?:queue|role)="([^"]*)".*?\} (\S+)$/gm)];
  const of = (name) => {
    const sums = new Map();  // over the models of a queue
    for (const [, metric, label, value] of gauges) {
      if (metric === name) sums.set(label, (sums.get(label) ?? 0) + Number(value));
    }
    return [...sums].map(([label, sum]) => [label, String(sum)]);
  };
  place.replaceChildren(
    el("section", { class: "panel" },
      el("h2", {}, "Health"),
      healthPanel(health)),
    el("section", { class: "panel" },
      table("Living processes", ["role", "number"], of("live_processes"), { numeric: [1] }),
      table("Waiting in the queues", ["queue", "calls and tasks"], of("queue_waiting"),
        { numeric: [1], empty: "none." })),
    el("section", { class: "panel" },
      table("Models", ["model", "held by a worker", "device", "languages", "aliases"],
        models.data.map((model) => [
          model.id, model.available ? "yes" : "no", model.device,
          (model.languages ?? []).join(", "), (model.aliases ?? []).join(", "),
        ]))));
}

/** The answer of /health/ready, also where it is 503; null where a proxy keeps it to itself. */
async function readiness(signal) {
  try {
    return await call("health/ready", { signal });
  } catch (error) {
    if (signal.aborted) throw error;
    return error.problem?.parts ? error.problem : null;
  }
}

function healthPanel(health) {
  if (!health) return el("p", { class: "hint" }, "The health of the service cannot be read from here.");
  return [
    el("p", { class: health.ready ? "good" : "error", role: "status" },
      health.ready ? "The service is ready: a text came back through the queue." : "The service is not ready."),
    facts(Object.entries(health.parts).map(([part, state]) => [part.replaceAll("_", " "), state])),
  ];
}
