// Decisions on their way. Each lies in localStorage, under a key of its own (so that two tabs do not write over
// each other), from the key press until the server has booked it; the server counts an id once, however often it
// is sent. Nothing else may remove one, but a refusal that the reviewer has seen.

import { ask } from "./api.js";

const WAITING = "hardpose.waiting.";
const REFUSED = "hardpose.refused.";
const BATCH = 100;
const GATHER_MS = 200;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 15000;

/** A new id. An insecure context (http on another machine) has no randomUUID. */
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * `sender()` gives { reviewer, named }: who decides now, and whether the API takes the name on trust.
 * Dispatches "change" when what waits or was refused has changed, "booked" (detail: the server's event) and
 * "refused" (detail: { item, problem }).
 */
export class Outbox extends EventTarget {
  /** A full or forbidden storage: then decisions are safe only as long as the tab is open. */
  unsafe = false;
  sending = false;
  /** Whether anything was decided or sent since the page was opened. */
  active = false;
  problem = null;
  #memory = new Map();
  #timer = 0;
  #retry = FIRST_RETRY_MS;
  #last = 0;

  constructor(sender) {
    super();
    this.sender = sender;
    addEventListener("online", () => this.send(0));
    addEventListener("storage", () => this.dispatchEvent(new Event("change")));
    addEventListener("pagehide", () => this.#flush());
    addEventListener("beforeunload", (event) => { if (this.unsafe && this.waiting().length) event.preventDefault(); });
  }

  /** Takes a decision in and gives it back with its id. */
  add(item) {
    // The clock alone may stand still or go back; the order of one reviewer's decisions must not.
    this.#last = Math.max(Date.now(), this.#last + 1);
    this.active = true;
    const kept = { id: newId(), note: "", ...item, at: this.#last };
    this.#write(`${WAITING}${String(kept.at).padStart(15, "0")}.${kept.id}`, kept);
    this.dispatchEvent(new Event("change"));
    this.send();
    return kept;
  }

  /** What the server has not booked, the oldest first. */
  waiting() {
    return this.#all(WAITING).map(([, item]) => item);
  }

  /** What the server will not book: items with the `reason`. */
  refused() {
    return this.#all(REFUSED).map(([, item]) => item);
  }

  /** The reviewer has seen what was refused. */
  dismiss() {
    for (const [key] of this.#all(REFUSED)) this.#remove(key);
    this.dispatchEvent(new Event("change"));
  }

  /** The API answers: what it had not answered, or could not do, is sent again at once. */
  resume() {
    if (this.problem && (this.problem.status === 0 || this.problem.status >= 500)) this.send(0);
  }

  /** Sends what waits, soon. */
  send(ms = GATHER_MS) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#drain(), ms);
  }

  async #drain() {
    if (this.sending) return;
    this.sending = true;
    try {
      for (let batch = this.#batch(); batch.length; batch = this.#batch()) {
        this.active = true;
        this.dispatchEvent(new Event("change"));
        await this.#post(batch);
        this.problem = null;
        this.#retry = FIRST_RETRY_MS;
      }
    } catch (fault) {
      this.problem = fault;
      // 401 and 403 wait for another sign-in, which calls send().
      if (fault.passing) this.send(fault.retryAfter ? fault.retryAfter * 1000 : this.#retry);
      this.#retry = Math.min(this.#retry * 2, LAST_RETRY_MS);
    } finally {
      this.sending = false;
      this.dispatchEvent(new Event("change"));
    }
  }

  /** The oldest that may be sent, all of one reviewer: anybody's where names are taken on trust, else one's own. */
  #batch() {
    const { reviewer, named } = this.sender();
    const waiting = this.#all(WAITING);
    const whose = named ? waiting[0]?.[1].reviewer : reviewer;
    return waiting.filter(([, item]) => item.reviewer === whose).slice(0, BATCH);
  }

  #body(batch) {
    const { named } = this.sender();
    const { reviewer } = batch[0][1];
    const decisions = batch.map(([, { id, frame_id, decision, note }]) => ({ id, frame_id, decision, note }));
    return named ? { reviewer, decisions } : { decisions };
  }

  async #post(batch) {
    let answer;
    try {
      answer = await ask("reviews", { method: "POST", body: this.#body(batch) });
    } catch (fault) {
      if (fault.passing || fault.status === 401 || fault.status === 403 || !fault.status) throw fault;
      if (batch.length > 1) {
        // One that the server refuses must not keep the others from being booked: halves, down to the one.
        const middle = batch.length >> 1;
        await this.#post(batch.slice(0, middle));
        return this.#post(batch.slice(middle));
      }
      return this.#refuse(batch[0], fault);
    }
    for (const [key] of batch) this.#remove(key);
    for (const event of Array.isArray(answer) ? answer : answer.items) this.dispatchEvent(new CustomEvent("booked", { detail: event }));
    return undefined;
  }

  #refuse([key, item], problem) {
    this.#write(`${REFUSED}${item.id}`, { ...item, reason: problem.message });
    this.#remove(key);
    this.dispatchEvent(new CustomEvent("refused", { detail: { item, problem } }));
  }

  /** The page goes away: a last try. What it loses is still in the storage, and sent again by the next page. */
  #flush() {
    const batch = this.#batch();
    if (batch.length) ask("reviews", { method: "POST", body: this.#body(batch), keepalive: true }).catch(() => {});
  }

  #all(prefix) {
    const found = new Map([...this.#memory].filter(([key]) => key.startsWith(prefix)));
    try {
      for (const key of Object.keys(localStorage).filter((key) => key.startsWith(prefix))) {
        found.set(key, JSON.parse(localStorage.getItem(key)));
      }
    } catch {
      this.unsafe = true;
    }
    return [...found].sort(([one], [other]) => (one < other ? -1 : 1));
  }

  #write(key, item) {
    try {
      localStorage.setItem(key, JSON.stringify(item));
    } catch {
      this.unsafe = true;
      this.#memory.set(key, item);
    }
  }

  #remove(key) {
    this.#memory.delete(key);
    try {
      localStorage.removeItem(key);
    } catch {
      this.unsafe = true;
    }
  }
}
