// Deciding and taking back. What is decided shows at once; the outbox sees to it that it is booked.

import { toast } from "./dom.js";
import { REVIEWS } from "./words.js";

/** Dispatches "change" when the depth of undo has changed. */
export class Decisions extends EventTarget {
  #done = [];

  constructor({ outbox, ledger, session }) {
    super();
    Object.assign(this, { outbox, ledger, session });
    outbox.addEventListener("booked", ({ detail }) => ledger.note(detail));
    outbox.addEventListener("refused", ({ detail }) => this.#refused(detail));
    ledger.addEventListener("change", ({ detail }) => this.#contradicted(detail));
    // After a reload: what still waits is what this reviewer has decided.
    for (const item of outbox.waiting()) ledger.note(item);
  }

  /** How many decisions can be taken back. */
  get depth() {
    return this.#done.length;
  }

  /** Books `decision` on a frame of a list. False if the reviewer gave no name, and nothing was decided. */
  async decide(frame, decision, note = "") {
    if (!this.session.may("review")) {
      toast("You may look, not decide: your token has no role for it.");
      return false;
    }
    const reviewer = await this.session.reviewer();
    if (!reviewer) return false;
    if (this.ledger.mine(frame.id, reviewer) === decision && !note) return true;
    const last = this.ledger.last(frame.id, reviewer);
    const done = { frame, reviewer, before: last?.decision ?? null };
    // What this reviewer had said of the frame before this page was opened comes with its history.
    if (!last) this.ledger.history(frame).catch(() => {});
    const item = this.outbox.add({ frame_id: frame.id, decision, note, reviewer });
    done.id = item.id;
    this.ledger.note(item);
    this.#done.push(done);
    this.dispatchEvent(new Event("change"));
    return true;
  }

  /** Takes the last decision back, or restores the one before it; the frame that it was about, or null. */
  async undo() {
    const done = this.#done.pop();
    if (!done) return null;
    try {
      const decision = done.before ?? (await this.#earlier(done)) ?? "withdraw";
      this.ledger.note(this.outbox.add({ frame_id: done.frame.id, decision, reviewer: done.reviewer }));
    } catch (fault) {
      this.#done.push(done);
      toast(`Not undone, for what you had decided before is not known yet: ${fault.message}`);
    }
    this.dispatchEvent(new Event("change"));
    return done.frame;
  }

  async #earlier({ frame, reviewer, id }) {
    const mine = (await this.ledger.history(frame)).filter((event) => event.reviewer === reviewer);
    const own = mine.findIndex((event) => event.id === id);
    return mine.slice(0, own < 0 ? undefined : own).at(-1)?.decision;
  }

  #refused({ item, problem }) {
    this.#done = this.#done.filter((done) => done.id !== item.id);
    this.ledger.retract(item);
    toast(`Not saved: ${problem.message}`, { seconds: 10 });
    this.dispatchEvent(new Event("change"));
  }

  #contradicted(frameId) {
    const done = this.#done.find((done) => done.frame.id === frameId);
    if (!done) return;
    const mine = this.ledger.mine(frameId, done.reviewer);
    const other = this.ledger.said(frameId).find((event) => event.reviewer !== done.reviewer && event.decision !== mine);
    if (!mine || !other || done.told === other.id) return;
    done.told = other.id;
    toast(`${REVIEWS.disputed}: ${other.reviewer} ${other.decision === "keep" ? "keeps" : "rejects"} a frame that you decided otherwise.`);
  }
}
