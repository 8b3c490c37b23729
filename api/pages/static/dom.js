/** Elements and formats. Strings become text nodes, so markup in user text is shown as text. */

const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes: a function is a listener (`onclick`), `true` is an empty attribute. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** A button. */
export function button(text, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, text);
}

/** A table with a caption; `columns` are titles, `rows` are arrays of texts or elements. */
export function table(caption, columns, rows, { empty = "Nothing yet.", numeric = [] } = {}) {
  if (!rows.length) return el("p", { class: "hint" }, `${caption}: ${empty}`);
  const cell = (content, index) => el(index ? "td" : "th", {
    scope: index ? null : "row", class: numeric.includes(index) ? "number" : null,
  }, content ?? "–");
  return el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": caption },
    el("table", {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, columns.map((title, index) =>
        el("th", { scope: "col", class: numeric.includes(index) ? "number" : null }, title)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell))))));
}

/** Names and values. */
export function facts(pairs) {
  const present = pairs.filter(([, value]) => value != null && value !== "");
  return el("dl", { class: "facts" }, present.map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

let fields = 0;

/** A field with its label; `control` is an input, a select or a textarea. */
export function field(text, control) {
  control.id ||= `field-${++fields}`;
  return el("p", { class: "field" }, el("label", { for: control.id }, text), control);
}

/** A select; `options` are `[value, text]`. */
export function select(options, attributes = {}, initial = null) {
  return el("select", attributes, options.map(([value, text]) =>
    el("option", { value, selected: value === initial }, text)));
}

export const count = (number) => new Intl.NumberFormat("en").format(number);
export const percent = (share) => `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** A moment, from seconds since 1970 or ISO 8601. */
export function moment(at) {
  if (at == null) return null;
  const date = new Date(typeof at === "number" ? at * 1000 : at);
  const text = date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  return el("time", { datetime: date.toISOString() }, text);
}

/** A length of time in words: `90` is "2 min". */
export function duration(seconds) {
  if (seconds == null) return null;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
