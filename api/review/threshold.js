// How many frames each threshold would save, over the histogram of the IoUs.

import { ask } from "./api.js";
import { byId, later, svg } from "./dom.js";
import { count, frames } from "./words.js";
import { filter } from "./view.js";

/** The verdicts that a comparison gives: only these frames have masks of both. */
const COMPARED = ["hard", "easy"];

/** Dispatches "apply" (detail: the threshold) and "clear". */
export class Threshold extends EventTarget {
  #bins = null;
  #today = null;
  #several = false;
  #asked = 0;
  #moved = false;

  constructor() {
    super();
    this.slider = byId("threshold");
    this.slider.addEventListener("input", () => {
      this.#moved = true;
      this.#say();
    });
    byId("threshold-apply").addEventListener("click", () => this.dispatchEvent(new CustomEvent("apply", { detail: this.value })));
    byId("threshold-clear").addEventListener("click", () => this.dispatchEvent(new Event("clear")));
    this.speak = later(150, (text) => { byId("threshold-says").textContent = text; });
  }

  /** The threshold that the slider stands at, in hundredths of 1 exactly. */
  get value() {
    return Math.round(Number(this.slider.value) * 100) / 100;
  }

  /** Asks for the counts behind a view; what its verdicts and IoUs leave out is counted too. */
  async show(view) {
    const turn = (this.#asked += 1);
    byId("threshold-clear").hidden = view.below_iou === null && view.min_iou === null;
    if (view.below_iou !== null) this.slider.value = view.below_iou;
    const query = { ...filter(view), verdict: COMPARED, min_iou: null, below_iou: null };
    const facets = await ask("frames/facets", { query });
    if (turn !== this.#asked) return;
    this.#bins = facets.iou.length === 100 ? facets.iou : Array(100).fill(0);
    this.#draw();
    this.#say();
  }

  /** The thresholds that the jobs of the view save by: one is today's; of several none is. */
  set jobs(thresholds) {
    const threshold = thresholds.length === 1 ? thresholds[0] : null;
    const several = thresholds.length > 1;
    if (threshold === this.#today && several === this.#several) return;
    this.#several = several;
    // Whoever has moved the slider while the jobs were on their way keeps it where it is.
    const fresh = this.#today === null && !this.#moved && !location.search.includes("below_iou");
    this.#today = threshold;
    if (fresh && threshold !== null) this.slider.value = threshold;
    this.#draw();
    this.#say();
  }

  /** How many frames a threshold saves. */
  saved(threshold) {
    return (this.#bins ?? []).slice(0, Math.round(threshold * 100)).reduce((sum, bin) => sum + bin, 0);
  }

  #draw() {
    if (!this.#bins) return;
    const most = Math.max(1, ...this.#bins);
    // Square roots: a few hard frames among many easy ones are still seen.
    const bars = this.#bins.map((bin, at) => {
      const height = bin ? Math.max(1, 40 * Math.sqrt(bin / most)) : 0;
      return svg("rect", { x: at + 0.1, y: 40 - height, width: 0.8, height, class: "bar-of-iou" });
    });
    if (this.#today !== null) bars.push(svg("line", { x1: this.#today * 100, x2: this.#today * 100, y1: 0, y2: 40, class: "today" }));
    byId("histogram").replaceChildren(...bars);
    this.#colour();
  }

  #colour() {
    const saved = Math.round(this.value * 100);
    [...byId("histogram").querySelectorAll("rect")].forEach((bar, at) => bar.classList.toggle("saved", at < saved));
  }

  #say() {
    this.#colour();
    if (!this.#bins) return;
    const [value, number] = [this.value, this.saved(this.value)];
    this.slider.setAttribute("aria-valuetext", `${value.toFixed(2)}: ${frames(number)}`);
    this.speak(this.#sentence(value, number));
    byId("threshold-apply").textContent = `Show ${number === 1 ? "this frame" : "these frames"}`;
  }

  #sentence(value, number) {
    if (value === this.#today) return `${frames(number)} would be saved at today’s threshold of ${value.toFixed(2)}.`;
    const says = `${frames(number)} would be saved at a threshold of ${value.toFixed(2)}`;
    if (this.#several) return `${says}. Thresholds differ between jobs.`;
    return this.#today === null ? `${says}.` : `${says} (${count(this.saved(this.#today))} at today’s ${this.#today.toFixed(2)}).`;
  }
}
