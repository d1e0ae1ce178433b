// The only file that talks to the API.

const ROOT = new URL("../", document.baseURI);

/** An answer that is no success. `status` is 0 when there was no answer at all. */
export class Problem extends Error {
  constructor(status, body = {}, retryAfter = null) {
    super(body.detail || body.title || (status ? `The API answered ${status}.` : "The API does not answer."));
    this.status = status;
    this.code = body.code || "";
    this.remedy = body.remedy || "";
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later: nothing is wrong with what was asked. */
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/** Tells of every answer: "answered", "away" (none, or 5xx), "locked" (401). */
export const health = new EventTarget();

/** The address of an API path; query values may be lists; null and "" are left out. */
export function address(path, query = {}) {
  const url = new URL(path.replace(/^\//, ""), ROOT);
  for (const [name, given] of Object.entries(query)) {
    for (const value of Array.isArray(given) ? given : [given]) {
      if (value !== null && value !== undefined && value !== "") url.searchParams.append(name, value);
    }
  }
  return url;
}

/** The JSON that the API answers. Throws a Problem for anything but a success. */
export async function ask(path, { method = "GET", query = {}, body = undefined, signal = undefined, keepalive = false } = {}) {
  const options = { method, signal, keepalive, credentials: "same-origin", headers: { accept: "application/json" } };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  let text;
  try {
    answer = await fetch(address(path, query), options);
    text = await answer.text();
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    return fail(new Problem(0));
  }
  let parsed = null;
  try {
    parsed = text ? JSON.parse(text) : null;
  } catch {
    parsed = { detail: `The API answered ${answer.status} and no JSON.` };
    if (answer.ok) return fail(new Problem(0, parsed));
  }
  if (answer.ok) {
    health.dispatchEvent(new Event("answered"));
    return parsed;
  }
  return fail(new Problem(answer.status, parsed || {}, Number(answer.headers.get("retry-after")) || null));
}

function fail(problem) {
  if (problem.status === 401) health.dispatchEvent(new Event("locked"));
  else if (problem.status === 0 || problem.status >= 500) health.dispatchEvent(new CustomEvent("away", { detail: problem }));
  else health.dispatchEvent(new Event("answered"));
  throw problem;
}

/** Where a frame's picture is: `kind` is frame, teacher, device or overlay; `width` in pixels; `crop` "person" or null. */
export const picture = (id, kind, width, crop = null) => address(`frames/${encodeURIComponent(id)}/images/${kind}`, { width, crop }).href;
