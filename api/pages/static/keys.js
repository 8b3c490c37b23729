/** The API keys of the account: a list, a new one, and an end of one. */

import { call } from "./api.js";
import { action, form } from "./actions.js";
import { el, field, moment, table } from "./dom.js";

/** The section of keys; null where the key of this tab may not manage keys. */
export async function keys({ signal }) {
  const place = el("section", { class: "panel" });
  const secret = el("p", { role: "status" });
  const load = async () => {
    const { data } = await call("v1/keys", { signal });
    place.replaceChildren(el("h2", {}, "API keys"), list(data, load), create(secret, load), secret);
  };
  try {
    await load();
  } catch (error) {
    if (error.status === 403) return null;
    throw error;
  }
  return place;
}

function list(data, load) {
  return table("Keys", ["name", "id", "scopes", "created", "last use", "expires", "actions"],
    data.map((key) => [
      key.name, el("code", {}, key.id), key.scopes.join(", ") || "all", moment(key.created_at),
      moment(key.last_used_at), moment(key.expires_at),
      key.revoked_at ? "revoked" : action("Revoke", async () => {
        await call(`v1/keys/${key.id}`, { method: "DELETE" });
        await load();
      }, { danger: true, confirm: "Revoke it? Its calls are refused from then on." }),
    ]));
}

function create(secret, load) {
  const name = el("input", { required: true, autocomplete: "off", placeholder: "what the key is for" });
  const scopes = el("input", { autocomplete: "off", placeholder: "classify, jobs (empty: all)" });
  return form("New key", el("div", { class: "fields" },
    field("Name", name), field("Scopes, separated by commas", scopes)), "Create a key", async () => {
    const list = scopes.value.split(",").map((scope) => scope.trim()).filter(Boolean);
    const answer = await call("v1/keys", {
      method: "POST", body: { name: name.value.trim(), ...(list.length && { scopes: list }) },
    });
    await load();
    secret.replaceChildren("The key is shown only this once: ", el("code", {}, answer.secret));
  });
}
