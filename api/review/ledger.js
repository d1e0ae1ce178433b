// Who has decided what, as far as this page knows, and what it comes to for a frame.

import { ask } from "./api.js";

const SAID = { keep: "kept", reject: "rejected" };

/** What decisions come to: the law of `broker.frame_views.Review`. */
export function standing(decisions) {
  const said = new Set(decisions.filter((decision) => decision !== "withdraw").map((decision) => SAID[decision]));
  if (said.size === 0) return "open";
  return said.size === 1 ? [...said][0] : "disputed";
}

/** Dispatches "change" with a frame's id in `detail` whenever something was said of it. */
export class Ledger extends EventTarget {
  #frames = new Map();
  #histories = new Map();
  #events = new Map();

  #of(frameId) {
    if (!this.#frames.has(frameId)) this.#frames.set(frameId, new Map());
    return this.#frames.get(frameId);
  }

  /** Books one decision. One that waits for the server has no number yet, and is newer than all that have. */
  note(event) {
    const said = this.#of(event.frame_id);
    if (!this.#events.has(event.frame_id)) this.#events.set(event.frame_id, new Map());
    this.#events.get(event.frame_id).set(event.id, event);
    const last = said.get(event.reviewer);
    const number = event.number ?? Infinity;
    const older = last && last.id !== event.id && (last.number ?? Infinity) > number;
    if (older) return false;
    const same = last && last.id === event.id;
    said.set(event.reviewer, event);
    if (!same || last.number !== event.number) this.dispatchEvent(new CustomEvent("change", { detail: event.frame_id }));
    return !same;
  }

  /** Takes back a decision that the server has refused, and asks what holds instead. */
  async retract(event) {
    const said = this.#of(event.frame_id);
    this.#events.get(event.frame_id)?.delete(event.id);
    if (said.get(event.reviewer)?.id !== event.id) return;
    said.delete(event.reviewer);
    this.#histories.delete(event.frame_id);
    this.dispatchEvent(new CustomEvent("change", { detail: event.frame_id }));
    await this.history({ id: event.frame_id, review: null }).catch(() => {});
  }

  /** All that was said of a frame, by number; asked once, and not where the frame was open when it was listed. */
  history(frame) {
    if (frame.review === "open") return Promise.resolve([]);
    if (!this.#histories.has(frame.id)) {
      const asked = ask(`frames/${encodeURIComponent(frame.id)}/reviews`).then((answer) => {
        this.learn(frame.id, Array.isArray(answer) ? answer : answer.items);
        return this.#histories.get(frame.id);
      });
      asked.catch(() => this.#histories.delete(frame.id));
      this.#histories.set(frame.id, asked);
    }
    return this.#histories.get(frame.id);
  }

  /** Takes over the whole history of a frame, as its detail gives it. */
  learn(frameId, events) {
    const known = [...events].sort((one, other) => one.number - other.number);
    this.#histories.set(frameId, Promise.resolve(known));
    for (const event of known) this.note(event);
    this.#of(frameId).whole = true;
    this.dispatchEvent(new CustomEvent("change", { detail: frameId }));
  }

  /** The newest event of `reviewer` about a frame, if any is known. */
  last(frameId, reviewer) {
    return this.#frames.get(frameId)?.get(reviewer);
  }

  /** What `reviewer` says of a frame now: "keep", "reject" or null. */
  mine(frameId, reviewer) {
    const decision = this.last(frameId, reviewer)?.decision;
    return decision && decision !== "withdraw" ? decision : null;
  }

  /** The newest decision of everybody who has one. */
  said(frameId) {
    return [...(this.#frames.get(frameId)?.values() ?? [])].filter((event) => event.decision !== "withdraw");
  }

  /** Every decision of a frame that is known, the oldest first; those not yet booked have no number. */
  told(frameId) {
    const number = (event) => event.number ?? Number.MAX_SAFE_INTEGER;
    return [...(this.#events.get(frameId)?.values() ?? [])].sort((one, other) => number(one) - number(other) || (one.at < other.at ? -1 : 1));
  }

  /** What all decisions together make of a frame. */
  review(frame) {
    const said = this.#frames.get(frame.id);
    if (!said || (said.size === 0 && !said.whole)) return frame.review;
    const decisions = [...said.values()].map((event) => event.decision);
    if (!said.whole && frame.review !== "open") {
      this.history(frame).catch(() => {});
      const known = { kept: ["keep"], rejected: ["reject"], disputed: ["keep", "reject"] }[frame.review];
      return standing([...known, ...decisions]);
    }
    return standing(decisions);
  }
}
