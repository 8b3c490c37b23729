/** Buttons that call the API: what runs is disabled. An error stands where it belongs. */

import { sentence } from "./api.js";
import { button, el } from "./dom.js";

/**
 * A button with a place for its error. `confirm` is a question to answer first, for what cannot be
 * undone: the button becomes "Yes" and "No".
 */
export function action(text, run, { confirm, danger = false } = {}) {
  const place = el("span", { class: "row" });
  const error = el("span", { class: "error", role: "alert" });
  const attempt = async (pressed) => {
    error.textContent = "";
    pressed.disabled = true;
    try {
      await run();
    } catch (failure) {
      error.textContent = sentence(failure);
    } finally {
      pressed.disabled = false;
    }
  };
  const offer = () => {
    const first = button(text, () => (confirm ? ask() : attempt(first)), { class: danger ? "danger" : null });
    place.replaceChildren(first, error);
    return first;
  };
  const ask = () => {
    const yes = button("Yes", () => attempt(yes), { class: danger ? "danger" : null });
    place.replaceChildren(
      el("span", {}, confirm), yes, button("No", () => offer().focus()), error);
    yes.focus();
  };
  offer();
  return place;
}

/** A part of a page; where it cannot be loaded its error, so that the rest of the page stays. */
export const orError = (title, loading) => loading.catch((error) =>
  el("p", { class: "error" }, `${title}: ${sentence(error)}`));

/** A form of fields and one button; `run` may return a sentence about its success. */
export function form(title, fields, text, run) {
  const error = el("p", { class: "error", role: "alert" });
  const status = el("p", { class: "good", role: "status" });
  const submit = el("button", { class: "primary" }, text);
  return el("form", {
    "aria-label": title,
    onsubmit: async (event) => {
      event.preventDefault();
      error.textContent = status.textContent = "";
      submit.disabled = true;
      try {
        status.textContent = await run((text) => { status.textContent = text; }) ?? "";
      } catch (failure) {
        status.textContent = "";
        error.textContent = sentence(failure);
      } finally {
        submit.disabled = false;
      }
    },
  }, fields, submit, status, error);
}
