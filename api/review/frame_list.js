// The frames of a view, loaded page by page as far as anyone has looked.

import { ask } from "./api.js";
import { filter } from "./view.js";

const PAGE = 200;

/** Dispatches "change" when frames have come and "fault" (detail: the Problem) when they have not. */
export class FrameList extends EventTarget {
  items = [];
  total = null;
  #index = new Map();
  #view = null;
  #cursor = null;
  #ended = true;
  #loading = null;
  #stop = new AbortController();

  /** Begins anew with another view. */
  open(view) {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#view = view;
    this.items = [];
    this.#index = new Map();
    this.total = null;
    this.#cursor = null;
    this.#ended = false;
    this.#loading = null;
    this.dispatchEvent(new Event("change"));
    return this.reach(0);
  }

  /** How many places the grid shows: what is loaded, and what is known to follow. */
  get length() {
    return this.#ended ? this.items.length : Math.max(this.total ?? 0, this.items.length);
  }

  /** Where a frame is in the list; -1 if it is not among the loaded. */
  indexOf(id) {
    return this.#index.get(id) ?? -1;
  }

  /** The loaded frame of this id. */
  get(id) {
    return this.items[this.indexOf(id)];
  }

  /** Loads until the frame at `index` is here; false if the list ends before or the API fails. */
  async reach(index) {
    while (index >= this.items.length && !this.#ended) {
      const page = (this.#loading ??= this.#page(this.#stop.signal));
      const came = await page;
      if (this.#loading === page) this.#loading = null;
      if (!came) return false;
    }
    return index < this.items.length;
  }

  async #page(signal) {
    const query = { ...filter(this.#view), order: this.#view.order, limit: PAGE, cursor: this.#cursor };
    try {
      const page = await ask("frames", { query, signal });
      if (signal.aborted) return false;
      for (const item of page.items) {
        if (this.#index.has(item.id)) continue;
        this.#index.set(item.id, this.items.length);
        this.items.push(item);
      }
      this.total = page.total;
      this.#cursor = page.next;
      this.#ended = !page.next;
    } catch (fault) {
      if (!signal.aborted) this.dispatchEvent(new CustomEvent("fault", { detail: fault }));
      return false;
    }
    this.dispatchEvent(new Event("change"));
    return true;
  }
}
