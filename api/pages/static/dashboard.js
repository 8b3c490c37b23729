/** The dashboard: `#/batches/batch_…` in the address chooses a view. */

import { Offer, sentence } from "./api.js";
import { byId, el } from "./dom.js";
import { withKey } from "./key.js";
import { batchView, batchesView, newBatchView } from "./view_batches.js";
import { classifierView, classifiersView } from "./view_classifiers.js";
import { jobView, jobsView } from "./view_jobs.js";
import { nowView } from "./view_now.js";
import { systemView } from "./view_system.js";
import { usageView } from "./view_usage.js";
import { webhookView, webhooksView } from "./view_webhooks.js";

/** Of each view: its pattern, its title, what renders it, and its place in the navigation. */
const VIEWS = [
  { at: /^$/, title: () => "Now", render: nowView, link: ["#/", "Now"] },
  { at: /^batches$/, title: () => "Batches", render: batchesView, link: ["#/batches", "Batches"] },
  { at: /^batches\/new$/, title: () => "New batch", render: newBatchView },
  { at: /^batches\/(.+)$/, title: (id) => `Batch ${id}`, render: batchView },
  { at: /^jobs$/, title: () => "Jobs", render: jobsView, link: ["#/jobs", "Jobs"] },
  { at: /^jobs\/(.+)$/, title: (id) => `Job ${id}`, render: jobView },
  {
    at: /^classifiers$/,
    title: () => "Classifiers",
    render: classifiersView,
    link: ["#/classifiers", "Classifiers"],
  },
  { at: /^classifiers\/(.+)$/, title: (ref) => `Classifier ${ref}`, render: classifierView },
  {
    at: /^webhooks$/,
    title: () => "Webhooks",
    render: webhooksView,
    link: ["#/webhooks", "Webhooks"],
    needs: "/v1/webhooks",
  },
  { at: /^webhooks\/(.+)$/, title: (id) => `Webhook ${id}`, render: webhookView },
  {
    at: /^usage$/,
    title: () => "Account",
    render: usageView,
    link: ["#/usage", "Account"],
    needs: "/v1/usage",
  },
  { at: /^system$/, title: () => "System", render: systemView, link: ["#/system", "System"] },
];

let offer = null;
let leaving = new AbortController();

/**
 * Renders the view of the address; `signal` ends what the last one started. With `keep` the old
 * content stays until the new one is there, so that the page does not jump.
 */
async function show({ focus = true, keep = false } = {}) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const path = decodeURIComponent(location.hash.replace(/^#\/?/, ""));
  const view = VIEWS.find((each) => each.at.test(path)) ?? VIEWS[0];
  const argument = view.at.exec(path)?.[1];
  const title = (text) => {
    if (signal.aborted) return;
    byId("title").textContent = text;
    document.title = `${text} · Dashboard · Pigeonhole`;
  };
  title(view.title(argument));
  byId("view-error").textContent = "";
  navigation(path);
  const place = el("div", {}, el("p", { class: "hint", role: "status" }, "Loading …"));
  if (!keep) byId("view").replaceChildren(place);
  if (focus) byId("title").focus();
  try {
    offer ??= await Offer.read();
    navigation(path);
    const again = () => show({ focus: false, keep: true });
    await view.render({ place, argument, offer, signal, again, fail, title });
    if (keep && !signal.aborted) byId("view").replaceChildren(place);
  } catch (error) {
    if (signal.aborted) return;
    place.replaceChildren();
    fail(error);
  }
}

function fail(error) {
  byId("view-error").textContent = sentence(error);
}

function navigation(path) {
  const [here] = path.split("/");
  const links = VIEWS.filter((view) => view.link && (!view.needs || offer?.has(view.needs)));
  byId("views").replaceChildren(...links.map(({ link: [href, text] }) =>
    el("a", { href, "aria-current": href === `#/${here}` ? "page" : null }, text)));
}

window.addEventListener("hashchange", () => show());
withKey(() => show({ focus: false }));
