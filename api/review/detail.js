// One frame, large: opened in place over the gallery.

import { ask } from "./api.js";
import { byId, el } from "./dom.js";
import { headline, story } from "./numbers.js";
import { Stage } from "./stage.js";
import { VIEWS, clock, count } from "./words.js";

const SWIPE = 60;

/** Dispatches "close" (detail: the frame), "step" (detail: 1 or -1), "decide" (detail: "keep" or "reject"), "undo" and "only". */
export class Detail extends EventTarget {
  frame = null;
  /** What the API tells of the frame; null until it does. */
  known = null;
  #turn = 0;

  constructor({ ledger, session }) {
    super();
    Object.assign(this, { ledger, session });
    this.dialog = byId("detail");
    this.#build();
    this.stage = new Stage(this.picture);
    this.stage.addEventListener("change", () => this.#tools());
    this.dialog.addEventListener("close", () => this.#closed());
    ledger.addEventListener("change", ({ detail }) => { if (detail === this.frame?.id) this.#words(); });
    this.#swipes();
    this.#tools();
  }

  get open() {
    return this.dialog.open;
  }

  /** Opens on a frame, the `at`-th (from 0) of `of`; `at` below 0: a frame that is not in the list. */
  async show(frame, at, of) {
    const turn = (this.#turn += 1);
    this.frame = frame;
    this.known = null;
    this.place.textContent = at < 0 ? "" : `${count(at + 1)} of ${count(of)}`;
    // The time has a place of its own: a long title gives way to it, and one in Arabic does not turn it round.
    this.title.replaceChildren(el("bdi", { text: frame.title || frame.video_id }), el("span", { text: ` · ${clock(frame.time_ms)}` }));
    this.note.value = "";
    if (!this.dialog.open) this.dialog.showModal();
    this.#words();
    this.stage.show(frame);
    try {
      const known = await ask(`frames/${encodeURIComponent(frame.id)}`);
      if (turn !== this.#turn) return;
      this.known = known;
      this.ledger.learn(frame.id, known.decisions);
      this.stage.person = known.keeper.box;
      this.dispatchEvent(new CustomEvent("known", { detail: known }));
    } catch (fault) {
      if (turn === this.#turn) this.story.replaceChildren(el("p", { class: "fault", text: fault.message }));
      return;
    }
    this.#words();
  }

  /** Closes; "close" follows. */
  close() {
    this.dialog.close();
  }

  /** Runs a key of this view; whether it was one. */
  key(key) {
    const views = Object.keys(VIEWS);
    const does = {
      ...Object.fromEntries(views.map((view, at) => [String(at + 1), () => this.stage.look(view)])),
      p: () => this.stage.view === "blink" && this.stage.pause(),
      b: () => this.stage.view === "blink" && (this.stage.pause(true), this.stage.swap()),
      "+": () => this.stage.zoom(1.5),
      "=": () => this.stage.zoom(1.5),
      "-": () => this.stage.zoom(1 / 1.5),
      0: () => this.stage.fitTo("whole"),
      z: () => this.stage.fitTo(this.stage.fit === "person" ? "whole" : "person"),
      n: () => this.note.focus(),
    }[key];
    does?.();
    return Boolean(does);
  }

  #build() {
    const tell = (name, detail) => () => this.dispatchEvent(new CustomEvent(name, { detail }));
    this.title = el("h2", { id: "detail-title", tabindex: "-1", autofocus: true });
    this.place = el("span", { class: "place" });
    this.picture = el("div", { class: "stage" });
    this.words = el("div", { "aria-live": "off" });
    this.story = el("div", { class: "story" });
    this.note = el("input", { maxlength: "1000", placeholder: "Goes with your next decision", id: "note" });
    this.views = el("div", { class: "segmented", role: "group", "aria-label": "View" }, ...Object.entries(VIEWS).map(
      ([view, name], at) => el("button", { "data-view": view, title: `${name} (${at + 1})`, text: name, on: { click: () => this.stage.look(view) } }),
    ));
    this.pausing = el("button", { class: "quiet", on: { click: () => this.stage.pause() } });
    this.swapping = el("button", { class: "quiet", text: "Swap", title: "Show the other mask (B)", on: { click: () => { this.stage.pause(true); this.stage.swap(); } } });
    this.fitting = el("button", { class: "quiet", title: "Zoom to the person (Z)", text: "Person", on: { click: () => this.key("z") } });
    const zoom = (text, name, factor) => el("button", { class: "quiet round", "aria-label": name, text, on: { click: () => this.stage.zoom(factor) } });
    const step = (text, name, by) => el("button", { class: "quiet round", "aria-label": name, title: name, text, on: { click: tell("step", by) } });
    this.undo = el("button", { class: "quiet", text: "Undo", on: { click: tell("undo") } });
    this.keep = el("button", { class: "keep", on: { click: tell("decide", "keep") } }, "Keep ", el("kbd", { text: "K" }));
    this.reject = el("button", { class: "reject", on: { click: tell("decide", "reject") } }, "Reject ", el("kbd", { text: "R" }));
    this.dialog.replaceChildren(
      el("header", {}, el("button", { class: "quiet", on: { click: () => this.close() } }, "← Gallery"), this.title, this.place),
      el("div", { class: "tools" }, this.views, this.pausing, this.swapping, el("span", { class: "zooms" }, this.fitting, zoom("−", "Zoom out", 1 / 1.5), zoom("+", "Zoom in", 1.5))),
      this.picture,
      el("aside", { "aria-label": "About this frame" }, this.words, el("label", { class: "field", for: "note" }, el("span", { text: "Note" }), this.note), this.story),
      el("footer", {}, step("‹", "The frame before", -1), this.reject, this.undo, this.keep, step("›", "The next frame", 1)),
    );
  }

  #words() {
    if (!this.frame) return;
    const review = this.ledger.review(this.frame);
    const mine = this.ledger.mine(this.frame.id, this.session.name);
    this.words.replaceChildren(headline(this.frame, review));
    this.keep.setAttribute("aria-pressed", mine === "keep");
    this.reject.setAttribute("aria-pressed", mine === "reject");
    if (!this.known) return this.story.replaceChildren(el("p", { class: "faint", text: "Loading …" }));
    const events = this.ledger.told(this.frame.id);
    const missing = this.stage.missing?.length ? el("p", { class: "fault", text: `Not there: ${this.stage.missing.join(", ")}.` }) : null;
    const only = () => this.dispatchEvent(new CustomEvent("only", { detail: this.frame.video_id }));
    return this.story.replaceChildren(...[missing, ...story(this.known, events, only)].filter(Boolean));
  }

  #tools() {
    const { view, paused, fit } = this.stage;
    for (const button of this.views.children) button.setAttribute("aria-pressed", button.dataset.view === view);
    this.pausing.hidden = this.swapping.hidden = view !== "blink";
    this.pausing.textContent = paused ? "Blink" : "Pause";
    this.fitting.setAttribute("aria-pressed", fit === "person");
    if (this.known) this.#words();
  }

  #closed() {
    const { frame } = this;
    this.#turn += 1;
    this.frame = null;
    this.known = null;
    this.stage.rest();
    this.dispatchEvent(new CustomEvent("close", { detail: frame }));
  }

  /** A swipe along the whole frame goes to its neighbour; a zoomed one is moved instead. */
  #swipes() {
    let begun = null;
    this.picture.addEventListener("pointerdown", (event) => {
      begun = begun || event.pointerType !== "touch" || this.stage.fit !== "whole" ? null : { x: event.clientX, y: event.clientY };
    });
    this.picture.addEventListener("pointerup", (event) => {
      if (!begun) return;
      const [dx, dy] = [event.clientX - begun.x, event.clientY - begun.y];
      begun = null;
      if (Math.abs(dx) > SWIPE && Math.abs(dx) > 2 * Math.abs(dy)) this.dispatchEvent(new CustomEvent("step", { detail: dx < 0 ? 1 : -1 }));
    });
    this.picture.addEventListener("pointercancel", () => { begun = null; });
  }
}
