// What others decide meanwhile: the catalog's log of decisions, read on from where it was.

import { ask } from "./api.js";

const EVERY_MS = 4000;
const PAGE = 500;
/** Decisions that are read once more at the start: they may have been booked while the first frames were read. */
const AGAIN = 100;

/** Calls `each(event)` for every decision that is booked from now on, one's own too. */
export class Peers {
  #after = null;
  #timer = 0;
  #each;
  #begun = false;

  constructor(each) {
    this.#each = each;
    document.addEventListener("visibilitychange", () => { if (!document.hidden && this.#begun) this.look(); });
  }

  /** Begins to look, and goes on. */
  async start() {
    if (this.#begun) return;
    this.#begun = true;
    await this.look();
  }

  /** Reads what is new, and looks again in a few seconds. A look that fails is repeated by the next. */
  async look() {
    clearTimeout(this.#timer);
    try {
      if (!document.hidden) await this.#read();
    } catch {
      // The banner tells already that the API is away; the next look begins at the same number.
    } finally {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.look(), EVERY_MS);
    }
  }

  async #read() {
    if (this.#after === null) {
      // Numbers grow by one or more, so the newest is not below the count.
      const { total } = await ask("reviews", { query: { after: 0, limit: 1 } });
      this.#after = Math.max(0, total - AGAIN);
    }
    for (let full = true; full;) {
      const { items } = await ask("reviews", { query: { after: this.#after, limit: PAGE } });
      for (const event of items) {
        this.#after = Math.max(this.#after, event.number);
        this.#each(event);
      }
      full = items.length === PAGE;
    }
  }
}
