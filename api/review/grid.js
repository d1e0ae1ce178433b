// A grid of which only the rows in sight are in the document: 5,000 frames cost no more than 50.

import { el } from "./dom.js";

const GAP = 14;
const NARROW = 520;
const LEAST = { narrow: 160, wide: 232, upright: 188 };
/** Rows beyond the sight, above and below. */
const SPARE = 2;
/** Height of a card beneath its picture, in CSS pixels; gallery.css sets the same. */
const WORDS = 66;
const SETTLE_MS = 90;

/**
 * Args: `root` the element with role grid; `list` with `length`, `items` and `reach`; `make(frame, index)` gives
 * a card with `load()`, for its picture, and `drop()`, for its end. Dispatches "open" and "move" (detail: index).
 */
export class Grid extends EventTarget {
  active = 0;
  #rows = new Map();
  #columns = 1;
  #width = 0;
  #height = 1;
  #settle = 0;
  #drawing = 0;
  #shape = 0.75;

  constructor(root, list, make) {
    super();
    Object.assign(this, { root, list, make });
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("focusin", (event) => this.#focused(event));
    list.addEventListener("change", () => this.draw());
    addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#measure()).observe(root);
    addEventListener("resize", () => this.#soon());
  }

  /** The width of a picture in CSS pixels. */
  get pictureWidth() {
    return this.#width;
  }

  /** Height over width of the pictures: that of most frames, within reason. */
  set shape(shape) {
    const next = Math.min(1.25, Math.max(0.5625, shape));
    if (next === this.#shape) return;
    this.#shape = next;
    this.#width = 0;
    this.#measure();
  }

  /** Makes every card anew: something else is to be seen of the same frames. */
  renew() {
    const focused = this.root.contains(document.activeElement);
    for (const row of [...this.#rows.keys()]) this.#drop(row);
    this.draw();
    this.move(this.active, { focus: focused });
  }

  /** Forgets every card: the list has begun anew. */
  clear() {
    for (const row of [...this.#rows.keys()]) this.#drop(row);
    this.active = 0;
  }

  /** Makes the frame at `index` the one that keys are about. */
  move(index, { focus = true } = {}) {
    const to = Math.max(0, Math.min(index, this.list.length - 1));
    if (this.list.length === 0) return;
    const before = this.#card(this.active);
    this.active = to;
    before?.setAttribute("tabindex", "-1");
    before?.classList.remove("active");
    this.#reveal(Math.floor(to / this.#columns));
    this.draw();
    const card = this.#card(to);
    card?.setAttribute("tabindex", "0");
    card?.classList.add("active");
    if (focus) card?.focus({ preventScroll: true });
    this.dispatchEvent(new CustomEvent("move", { detail: to }));
  }

  /** Draws the cards of one frame anew, if it is in sight. */
  refresh(index) {
    this.#card(index)?.update?.();
  }

  /** Brings the rows in the document in line with the list and the scroll position. */
  draw() {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = 0;
    if (!this.#width) return;
    const rows = Math.ceil(this.list.length / this.#columns);
    this.root.style.height = `${Math.max(0, rows * this.#height - GAP)}px`;
    this.root.setAttribute("aria-rowcount", rows);
    this.root.setAttribute("aria-colcount", this.#columns);
    const top = -this.root.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / this.#height) - SPARE);
    const last = Math.min(rows - 1, Math.floor((top + innerHeight) / this.#height) + SPARE);
    const held = Math.floor(this.active / this.#columns);
    for (const row of [...this.#rows.keys()]) if ((row < first || row > last) && (row !== held || row >= rows)) this.#drop(row);
    for (let row = first; row <= last; row += 1) this.#put(row);
    // The row with the focus stays, wherever one scrolls to: keys go on from there.
    if (held < rows) this.#put(held);
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => this.#load(), SETTLE_MS);
    if (last >= 0) this.list.reach((last + 4) * this.#columns);
  }

  #soon() {
    if (!this.#drawing) this.#drawing = requestAnimationFrame(() => this.draw());
  }

  #measure() {
    const whole = this.root.clientWidth;
    const least = whole < NARROW ? LEAST.narrow : this.#shape > 1 ? LEAST.upright : LEAST.wide;
    const columns = Math.max(1, Math.floor((whole + GAP) / (least + GAP)));
    const width = Math.floor((whole - GAP * (columns - 1)) / columns);
    if (columns === this.#columns && width === this.#width) return;
    const focused = this.root.contains(document.activeElement);
    const active = this.active;
    this.#columns = columns;
    this.#width = width;
    this.#height = Math.round(width * this.#shape) + WORDS + GAP;
    this.root.style.setProperty("--card", `${width}px`);
    this.root.style.setProperty("--picture", `${this.#height - WORDS - GAP}px`);
    for (const row of [...this.#rows.keys()]) this.#drop(row);
    this.draw();
    if (focused) this.move(active);
  }

  #put(row) {
    let line = this.#rows.get(row);
    if (!line) {
      line = el("div", { class: "row", role: "row", "aria-rowindex": row + 1 });
      line.style.transform = `translateY(${row * this.#height}px)`;
      this.#rows.set(row, line);
      this.root.append(line);
    }
    const begin = row * this.#columns;
    const cells = Math.min(this.#columns, this.list.length - begin);
    while (line.children.length > cells) line.lastElementChild.remove();
    for (let cell = 0; cell < cells; cell += 1) this.#cell(line, cell, begin + cell);
  }

  #cell(line, cell, index) {
    const there = line.children[cell];
    const frame = this.list.items[index];
    if (there && there.dataset.id === (frame?.id ?? "")) return;
    const made = frame ? this.make(frame, index) : el("div", { class: "card waiting", "aria-busy": "true" });
    made.dataset.id = frame?.id ?? "";
    made.dataset.index = index;
    made.setAttribute("role", "gridcell");
    made.setAttribute("aria-colindex", cell + 1);
    made.setAttribute("tabindex", index === this.active ? "0" : "-1");
    made.classList.toggle("active", index === this.active);
    const focused = there && there === document.activeElement;
    if (there) there.replaceWith(made);
    else line.append(made);
    if (focused) made.focus({ preventScroll: true });
  }

  #drop(row) {
    const line = this.#rows.get(row);
    for (const card of line.children) card.drop?.();
    line.remove();
    this.#rows.delete(row);
  }

  /** Pictures are asked for when the scrolling rests: rows that fly past would only keep the API busy. */
  #load() {
    for (const line of this.#rows.values()) for (const card of line.children) card.load?.();
  }

  #card(index) {
    return this.#rows.get(Math.floor(index / this.#columns))?.children[index % this.#columns];
  }

  #reveal(row) {
    const top = this.root.getBoundingClientRect().top + row * this.#height;
    const head = document.querySelector(".bar").getBoundingClientRect().bottom + GAP;
    const foot = innerHeight - GAP;
    if (top < head) scrollBy({ top: top - head, behavior: "instant" });
    else if (top + this.#height - GAP > foot) scrollBy({ top: top + this.#height - GAP - foot, behavior: "instant" });
  }

  #click(event) {
    const card = event.target.closest(".card");
    if (!card?.dataset.id) return;
    this.move(Number(card.dataset.index));
    this.dispatchEvent(new CustomEvent("open", { detail: this.active }));
  }

  #focused(event) {
    const card = event.target.closest(".card");
    if (card && Number(card.dataset.index) !== this.active) this.move(Number(card.dataset.index));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor((innerHeight - 120) / this.#height)) * this.#columns;
    const to = {
      ArrowRight: this.active + 1,
      ArrowLeft: this.active - 1,
      ArrowDown: this.active + this.#columns,
      ArrowUp: this.active - this.#columns,
      PageDown: this.active + page,
      PageUp: this.active - page,
      Home: 0,
      End: this.list.items.length - 1,
    }[event.key];
    if (to !== undefined) this.move(to);
    else if (event.key === "Enter" || event.key === " ") this.dispatchEvent(new CustomEvent("open", { detail: this.active }));
    else return;
    event.preventDefault();
  }
}
