// Filters by job, video, review, verdict and pose, with how many frames each would show.

import { ask } from "./api.js";
import { byId, el, sign } from "./dom.js";
import { POSES, REVIEWS, VERDICTS, count } from "./words.js";
import { filter } from "./view.js";

const GROUPS = [
  ["review", "reviews", REVIEWS],
  ["verdict", "verdicts", VERDICTS],
  ["pose", "poses", POSES],
];
const MOST = 500;

const day = (text) => new Date(text).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** Dispatches "change" with the changed fields of the view in `detail`. */
export class Filters extends EventTarget {
  /** The newest jobs, for who has to tell that there are none. */
  jobs = null;
  #videosOf = null;
  #asked = 0;

  constructor() {
    super();
    for (const name of ["job", "video"]) {
      byId(name).addEventListener("change", (event) => this.#changed(name, event.target.value ? [event.target.value] : []));
    }
    for (const [name, id, words] of GROUPS) {
      const box = byId(id);
      for (const [value, word] of Object.entries(words)) box.append(chip(name, value, word));
      box.addEventListener("change", () => this.#changed(name, [...box.querySelectorAll(":checked")].map((input) => input.value)));
    }
  }

  /** Shows a view's filters; counts come as soon as the API gives them. */
  async show(view) {
    const turn = (this.#asked += 1);
    for (const [name, id] of GROUPS) {
      for (const input of byId(id).querySelectorAll("input")) input.checked = view[name].includes(input.value);
    }
    await Promise.all([this.#counts(view, turn), this.#lists(view, turn)]);
  }

  /** Counts anew, and nothing else. */
  recount(view) {
    return this.#counts(view, (this.#asked += 1));
  }

  #changed(name, values) {
    // A video of one job is none of another's.
    const detail = name === "job" ? { job: values, video: [] } : { [name]: values };
    this.dispatchEvent(new CustomEvent("change", { detail }));
  }

  async #counts(view, turn) {
    const facets = await ask("frames/facets", { query: filter(view) });
    if (turn !== this.#asked) return;
    for (const [name, id] of GROUPS) {
      for (const label of byId(id).querySelectorAll("label")) {
        const input = label.querySelector("input");
        const number = facets[id][input.value] ?? 0;
        label.querySelector(".number").textContent = count(number);
        // What no frame has is not worth a place, unless it is asked for.
        label.hidden = number === 0 && !input.checked && name !== "review";
      }
      byId(id).hidden = [...byId(id).querySelectorAll("label")].every((label) => label.hidden);
    }
  }

  async #lists(view, turn) {
    if (!this.jobs) {
      const { items } = await ask("jobs", { query: { limit: MOST } });
      this.jobs = items;
    }
    fill(byId("job"), "All jobs", this.jobs.map((job) => [job.id, `${day(job.created_at)} · ${job.id}`]), view.job[0]);
    const job = view.job[0] ?? "";
    if (this.#videosOf?.job !== job) {
      const { items } = await ask("videos", { query: { job, limit: MOST } });
      if (turn !== this.#asked) return;
      this.#videosOf = { job, items };
    }
    const videos = this.#videosOf.items.map(({ video }) => [video.id, video.title || video.id]);
    fill(byId("video"), "All videos", videos, view.video[0]);
  }
}

function chip(name, value, word) {
  const label = el("label", { class: "chip", "data-value": value }, el("input", { type: "checkbox", name, value }));
  if (name === "review") label.append(sign(value));
  label.append(el("span", { text: word }), el("span", { class: "number" }));
  return label;
}

function fill(select, all, options, chosen = "") {
  const known = options.some(([value]) => value === chosen) || !chosen;
  const rows = [["", all], ...(known ? [] : [[chosen, chosen]]), ...options];
  select.replaceChildren(...rows.map(([value, text]) => el("option", { value, text })));
  select.value = chosen;
}
