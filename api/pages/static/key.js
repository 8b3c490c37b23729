/** The form for the API key at the top of each page. */

import { call, key, sentence } from "./api.js";
import { byId } from "./dom.js";

/** Calls `ready` with each key that the service accepts: at once, and when it is changed. */
export function withKey(ready) {
  const form = byId("key-form");
  const input = byId("key-input");
  const change = byId("key-change");
  const error = byId("key-error");

  const ask = (reason = "") => {
    form.hidden = false;
    change.hidden = true;
    error.textContent = reason;
  };
  change.addEventListener("click", () => {
    ask();
    input.focus();
  });
  window.addEventListener("key-refused", () => {
    ask(key.get() ? "The service does not know this key." : "Enter your API key first.");
    input.focus();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    key.set(input.value.trim());
    try {
      await call("v1/models");
    } catch (failure) {
      if (failure.status !== 403) { // a key of another scope is a key
        if (failure.status !== 401) error.textContent = sentence(failure);
        return;
      }
    }
    input.value = "";
    accept();
    byId("main").focus();
  });

  const accept = () => {
    form.hidden = true;
    change.hidden = false;
    ready();
  };
  if (key.get()) accept();
  else ask();
}
