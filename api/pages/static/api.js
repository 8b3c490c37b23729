/** Calls of the public API, with the key of this tab. */

const BASE = new URL("../", import.meta.url);
const KEY = "pigeonhole-key";

/** The API key: session storage ends with the tab. It never enters a URL. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
};

/** The absolute address of a path such as `v1/classify`; one of an answer may have the prefix. */
export const address = (path) =>
  new URL(path.startsWith(BASE.pathname) ? path : path.replace(/^\//, ""), BASE).href;

/** An answer that is no success. */
export class ApiError extends Error {
  constructor(status, problem) {
    const openai = problem.error?.message ? problem.error : {};
    const fields = (problem.errors ?? []).map((each) => `${each.field} ${each.message}`);
    super(fields.join("; ") || problem.detail || openai.message || `The service answered ${status}`);
    this.problem = problem;
    this.status = status;
    this.code = problem.code ?? openai.code ?? "";
    this.requestId = problem.request_id ?? "";
  }
}

/** The sentence for a person about whatever failed. */
export function sentence(error) {
  if (error instanceof ApiError) {
    return `${error.message}${error.requestId ? ` (request ${error.requestId})` : ""}`;
  }
  if (error instanceof TypeError) return "The service does not answer. Is it running?";
  return String(error.message ?? error);
}

/** The response of a call; `body` is JSON, or a form. A wrong key asks for another one. */
export async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  const form = body instanceof FormData || body instanceof Blob;
  const response = await fetch(address(path), {
    method,
    signal,
    headers: {
      ...(key.get() && { Authorization: `Bearer ${key.get()}` }),
      ...(body !== undefined && !form && { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body === undefined || form ? body : JSON.stringify(body),
  });
  if (response.ok) return response;
  if (response.status === 401) window.dispatchEvent(new Event("key-refused"));
  throw new ApiError(response.status, await response.json().catch(() => ({})));
}

/** The JSON of a call; null where it has no body. */
export async function call(path, options) {
  const text = await (await send(path, options)).text();
  return text ? JSON.parse(text) : null;
}

/** The JSON of a call that may become a job: a 202 is waited for, and its result is returned. */
export async function runToEnd(path, options, report = () => {}) {
  const response = await send(path, options);
  const answer = await response.json();
  if (response.status !== 202) return answer;
  for await (const job of events(`v1/jobs/${answer.id}/events`)) report(job);
  return call(`v1/jobs/${answer.id}/result`);
}

/** Server-sent events as objects. EventSource cannot send a key, so the stream is read here. */
export async function* events(path, { signal } = {}) {
  const response = await send(path, { signal, headers: { Accept: "text/event-stream" } });
  if (response.status === 204) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let waiting = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const frames = (waiting + value).split("\n\n");
    waiting = frames.pop();
    for (const frame of frames) {
      const data = frame.split("\n").filter((line) => line.startsWith("data: "));
      if (data.length) yield JSON.parse(data.map((line) => line.slice(6)).join("\n"));
    }
  }
}

/** Saves what a path answers as a file of this computer. */
export async function download(path, name) {
  const url = URL.createObjectURL(await (await send(path)).blob());
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Shows what a path answers, such as a report, in a tab of its own. */
export async function openTab(path, type) {
  const response = await send(path, { headers: { Accept: type } });
  const url = URL.createObjectURL(await response.blob());
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  if (!window.open(url)) throw new Error("Allow pop-ups of this page, so that it can open a tab.");
}

/** The plot of a path as an image; it cannot be named by its URL, which needs the key. */
export async function image(path, alt, options) {
  const url = URL.createObjectURL(await (await send(path, options)).blob());
  const picture = Object.assign(document.createElement("img"), { src: url, alt, className: "chart" });
  picture.addEventListener("load", () => URL.revokeObjectURL(url));
  return picture;
}

/** What this version of the API offers, from its OpenAPI document. */
export class Offer {
  constructor(document) {
    this.paths = document.paths;
    this.schemas = document.components.schemas;
  }

  static async read() {
    return new Offer(await call("openapi.json"));
  }

  has(path) {
    return path in this.paths;
  }

  /** The schema of a field of a body, or undefined. */
  field(schema, name) {
    return this.schemas[schema]?.properties?.[name];
  }

  /** The values of a field that is one of some words, or a list of them. */
  values(schema, name) {
    const values = [];
    const look = (node) => {
      if (!node || typeof node !== "object") return;
      if (node.$ref) look(this.schemas[node.$ref.split("/").at(-1)]);
      values.push(...(node.enum ?? []), ...(node.const ? [node.const] : []));
      [node.items, ...(node.anyOf ?? node.oneOf ?? node.allOf ?? [])].forEach(look);
    };
    look(this.field(schema, name));
    return values.filter((value) => typeof value === "string");
  }
}
