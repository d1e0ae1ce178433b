// What the cards show of their frames: the person, or the whole frame. It stays in this browser.

import { byId } from "./dom.js";

const KEPT = "hardpose.cards";
const WHOLE = "whole";

/** Dispatches "change" when it has become the other. */
export class Framing extends EventTarget {
  #whole = remembered() === WHOLE;

  constructor() {
    super();
    this.buttons = { person: byId("cards-person"), whole: byId("cards-whole") };
    this.buttons.person.addEventListener("click", () => this.#set(false));
    this.buttons.whole.addEventListener("click", () => this.#set(true));
    this.#press();
  }

  /** What the API is asked for: "person", or null for the whole frame. */
  get crop() {
    return this.#whole ? null : "person";
  }

  /** Shows the other. */
  toggle() {
    this.#set(!this.#whole);
  }

  #set(whole) {
    if (whole === this.#whole) return;
    this.#whole = whole;
    remember(whole ? WHOLE : "person");
    this.#press();
    this.dispatchEvent(new Event("change"));
  }

  #press() {
    this.buttons.person.setAttribute("aria-pressed", !this.#whole);
    this.buttons.whole.setAttribute("aria-pressed", this.#whole);
  }
}

function remembered() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; // a browser that keeps nothing shows the person
  }
}

function remember(what) {
  try {
    localStorage.setItem(KEPT, what);
  } catch {
    return; // shown all the same, until the page is left
  }
}
