/** The webhooks of the account, and one with its deliveries. */

import { call } from "./api.js";
import { action, form } from "./actions.js";
import { el, facts, field, moment, table } from "./dom.js";

const DELIVERIES = 20;

export async function webhooksView({ place, offer, signal }) {
  const { data } = await call("v1/webhooks", { signal });
  const secret = el("p", { role: "status" });
  place.replaceChildren(
    el("section", { class: "panel" }, table("Webhooks, newest first",
      ["address", "state", "events", "description", "created"],
      data.map((each) => [
        el("a", { href: `#/webhooks/${each.id}` }, each.url), state(each), events(each, offer),
        each.description || null, moment(each.created_at),
      ]), { empty: "no webhooks." })),
    el("section", { class: "panel" }, el("h2", {}, "New webhook"), creation(offer, secret), secret));
}

function creation(offer, secret) {
  const url = el("input", { type: "url", required: true, autocomplete: "off" });
  const names = offer.values("WebhookBody", "events").map((name) => el("input", { type: "checkbox", value: name }));
  const about = el("input", { autocomplete: "off" });
  return form("New webhook", [
    el("div", { class: "fields" }, field("Address", url), field("Description", about)),
    el("details", {}, el("summary", {}, "Events: all, unless you choose some"),
      el("fieldset", { class: "row" }, el("legend", {}, "Events"),
        names.map((box) => el("label", { class: "inline" }, box, box.value)))),
  ],
  "Create a webhook", async () => {
    const list = names.filter((box) => box.checked).map((box) => box.value);
    const made = await call("v1/webhooks", {
      method: "POST",
      body: { url: url.value.trim(), description: about.value.trim(), ...(list.length && { events: list }) },
    });
    show(secret, made);
  });
}

/** The secret stands in the answer that makes it, and nowhere after. */
function show(place, { id, secret }) {
  place.replaceChildren("The secret that signs its messages is shown only this once: ",
    el("code", {}, secret), " ", el("a", { href: `#/webhooks/${id}` }, "Go to the webhook"));
}

export async function webhookView({ place, argument, offer, signal, again, title }) {
  const path = `v1/webhooks/${encodeURIComponent(argument)}`;
  const [webhook, deliveries] = await Promise.all([
    call(path, { signal }), call(`${path}/deliveries?limit=${DELIVERIES}`, { signal }),
  ]);
  title(`Webhook ${webhook.url}`);
  const then = (target, options) => async () => {
    await call(`${path}${target}`, options);
    again();
  };
  const secret = el("p", { role: "status" });
  place.replaceChildren(
    el("section", { class: "panel" },
      facts([
        ["Id", webhook.id], ["State", state(webhook)], ["Disabled because", webhook.disabled_reason],
        ["Every delivery fails since", moment(webhook.failing_since)], ["Events", events(webhook, offer)],
        ["Description", webhook.description], ["Created", moment(webhook.created_at)],
      ]),
      el("p", { class: "row" },
        action("Send a test message", then("/test", { method: "POST" })),
        action(webhook.enabled ? "Disable" : "Enable",
          then("", { method: "PATCH", body: { enabled: !webhook.enabled } })),
        action("New secret", async () => show(secret, await call(`${path}/rotate`, { method: "POST" })),
          { confirm: "Make a new secret? For 24 hours both sign." }),
        action("Delete", async () => {
          await call(path, { method: "DELETE" });
          location.hash = "#/webhooks";
        }, { danger: true, confirm: "Delete it? Pending deliveries are discarded." })),
      secret),
    el("section", { class: "panel" },
      el("p", { class: "row" }, action("Look again", again)),
      table("Deliveries, newest first",
        ["event", "job", "created", "status", "attempts", "last answer", "actions"],
        deliveries.data.map((each) => [
          each.event, each.job_id && el("a", { href: `#/jobs/${each.job_id}` }, el("code", {}, each.job_id)),
          moment(each.created_at), each.reason ? `${each.status}: ${each.reason}` : each.status,
          String(each.attempts.length), answer(each.attempts.at(-1)),
          action("Send again", then(`/deliveries/${each.id}/resend`, { method: "POST" })),
        ]), { numeric: [4], empty: "no deliveries yet." })));
}

const state = (webhook) => el("span", { class: "tag" },
  webhook.enabled ? (webhook.failing_since ? "failing" : "enabled") : "disabled");

function events(webhook, offer) {
  const all = webhook.events.length === offer.values("WebhookObject", "events").length;
  return all ? "all" : webhook.events.join(", ");
}

const answer = (attempt) => attempt && (attempt.error ?? `status ${attempt.status}, ${attempt.duration_ms} ms`);
