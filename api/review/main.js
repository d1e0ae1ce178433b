// Puts the page together: what is in the address is shown, what is done goes into the address or the outbox.

import { ask, health } from "./api.js";
import { makeCard } from "./card.js";
import { Decisions } from "./decisions.js";
import { Detail } from "./detail.js";
import { byId, el, later, toast } from "./dom.js";
import { Filters } from "./filters.js";
import { FrameList } from "./frame_list.js";
import { Framing } from "./framing.js";
import { Grid } from "./grid.js";
import { listen } from "./keys.js";
import { Ledger } from "./ledger.js";
import { Outbox } from "./outbox.js";
import { Peers } from "./peers.js";
import { Session } from "./session.js";
import { statusLine } from "./status_line.js";
import { Threshold } from "./threshold.js";
import { parse, sameList, write } from "./view.js";
import { frames } from "./words.js";

const RECOUNT_MS = 1500;
/** With more, what they save by is not asked. */
const MOST_RECIPES = 12;
/** Height over width of most crops of a person, with room for those who lie. */
const PERSON_SHAPE = 1.25;

const session = new Session();
const ledger = new Ledger();
const outbox = new Outbox(() => ({ reviewer: session.name, named: session.named }));
const decisions = new Decisions({ outbox, ledger, session });
const framing = new Framing();
const list = new FrameList();
const grid = new Grid(byId("grid"), list, (frame) => makeCard(frame, {
  ledger, session, width: () => grid.pictureWidth, crop: () => framing.crop,
}));
const detail = new Detail({ ledger, session });
const filters = new Filters();
const threshold = new Threshold();
const peers = new Peers((event) => ledger.note(event));
const recount = later(RECOUNT_MS, () => filters.recount(view).catch(() => {}));

let view = parse(location.search);
let shaped = false;
/** The recipe's threshold, by recipe: asked once each. */
const thresholds = new Map();

// --- what is shown -----------------------------------------------------------------------------------

function go(change, { push = true } = {}) {
  const next = { ...view, ...change };
  const same = sameList(view, next);
  view = next;
  if (push) history.pushState({ inside: true }, "", write(view) || location.pathname);
  if (!same) show();
}

async function show() {
  byId("order").value = view.order;
  grid.clear();
  if (scrollY > 0) scrollTo({ top: 0, behavior: "instant" });
  // What fails here is told by the banner that the API is away.
  const told = Promise.allSettled([filters.show(view), threshold.show(view)]);
  const asked = view;
  await list.open(view);
  await told;
  if (!sameList(asked, view)) return;
  learnThresholds(view);
  if (list.total === 0) showEmpty();
}

/** The thresholds of the chosen job, or of all: each recipe is asked for once. */
async function learnThresholds(shown) {
  const jobs = (filters.jobs ?? []).filter((job) => !shown.job.length || shown.job.includes(job.id));
  const recipes = new Map(jobs.map((job) => [job.recipe_id, job.id]));
  if (recipes.size > MOST_RECIPES) recipes.clear();
  await Promise.allSettled([...recipes].filter(([recipe]) => !thresholds.has(recipe)).map(async ([recipe, job]) => {
    const { recipe: { comparison } } = await ask(`jobs/${encodeURIComponent(job)}`);
    thresholds.set(recipe, comparison.iou_threshold);
  }));
  const known = [...recipes.keys()].map((recipe) => thresholds.get(recipe));
  // One that the API did not tell may be another: then nothing is said of today's.
  if (sameList(shown, view)) threshold.jobs = known.includes(undefined) ? [] : [...new Set(known)];
}

function showEmpty() {
  const none = filters.jobs?.length === 0;
  const [title, text] = none
    ? ["No jobs yet", "Give hardpose some links: hardpose enqueue LINK, or POST /jobs. Frames appear here when the first segment is through."]
    : ["No frames match", "No frame passes all of the filters."];
  const back = none ? null : el("button", { text: "Back to the hard frames", on: { click: reset } });
  byId("empty").replaceChildren(el("h2", { text: title }), el("p", { text }), ...(back ? [back] : []));
  byId("empty").hidden = false;
}

function reset() {
  go(parse(""));
}

list.addEventListener("change", () => {
  // Cards take the shape of most pictures; it is settled by the first page.
  if (list.items.length && !shaped) reshape();
  shaped = list.items.length > 0;
  byId("count").textContent = list.total === null ? "Loading …" : frames(list.total);
  if (list.total !== 0) byId("empty").hidden = true;
});
function reshape() {
  const shapes = list.items.map(({ width, height }) => height / width).sort((one, other) => one - other);
  if (framing.crop) grid.shape = PERSON_SHAPE;
  else if (shapes.length) grid.shape = shapes[shapes.length >> 1];
}

framing.addEventListener("change", () => {
  reshape();
  grid.renew();
});
list.addEventListener("fault", ({ detail: fault }) => {
  if (list.total !== null || fault.status === 401) return;
  byId("count").textContent = "No frames to show";
  byId("empty").replaceChildren(el("h2", { text: fault.status ? "The API cannot show frames" : "The API is away" }), el("p", { text: `${fault.message} ${fault.remedy}` }));
  byId("empty").hidden = false;
});
ledger.addEventListener("change", ({ detail: id }) => {
  const at = list.indexOf(id);
  if (at >= 0) grid.refresh(at);
});
session.addEventListener("change", () => {
  list.items.forEach((_, at) => grid.refresh(at));
  outbox.send(0);
});
outbox.addEventListener("booked", recount);

// --- one frame ---------------------------------------------------------------------------------------

function openAt(index, { push = true } = {}) {
  const frame = list.items[index];
  if (!frame) return;
  const was = detail.open;
  // From one frame to the next the address is put in place, so that Back leads to the gallery.
  view = { ...view, frame: frame.id };
  if (push) {
    if (was) history.replaceState(history.state, "", write(view));
    else history.pushState({ inside: true }, "", write(view));
  }
  grid.move(index, { focus: false });
  detail.show(frame, index, list.length);
  if (list.items[index + 1]) detail.stage.prepare(list.items[index + 1]);
}

/** A frame that the address names, and the list may not hold. */
async function openNamed(id) {
  const at = list.indexOf(id);
  if (at >= 0) return openAt(at, { push: false });
  try {
    const frame = await ask(`frames/${encodeURIComponent(id)}`);
    if (view.frame === id) detail.show(frame, -1, list.length);
  } catch (fault) {
    toast(fault.status === 404 ? "The frame of this address is not there." : fault.message);
  }
  return undefined;
}

detail.addEventListener("close", ({ detail: frame }) => {
  if (view.frame) {
    view = { ...view, frame: null };
    if (history.state?.inside) history.back();
    else history.replaceState(null, "", write(view) || location.pathname);
  }
  // Closing gives the focus back to the card that had it: the frame may be another by now.
  const at = list.indexOf(frame.id);
  if (list.length) grid.move(at < 0 ? grid.active : at);
});
detail.addEventListener("step", ({ detail: by }) => step(by));
detail.addEventListener("decide", ({ detail: decision }) => decide(decision));
detail.addEventListener("undo", () => undo());
detail.addEventListener("only", ({ detail: video }) => {
  view = { ...view, frame: null };
  detail.close();
  go({ video: [video] });
});
detail.addEventListener("known", ({ detail: { recipe, recipe_id } }) => thresholds.set(recipe_id, recipe.comparison.iou_threshold));

async function step(by) {
  const to = grid.active + by;
  if (to < 0 || !(await list.reach(to))) {
    toast(by < 0 ? "This is the first frame." : "This is the last frame.", { seconds: 2 });
    return;
  }
  if (detail.open) openAt(to);
  else grid.move(to);
}

// --- deciding ----------------------------------------------------------------------------------------

let acting = false;

/** One after another: a second press before the next frame is there would be about the wrong one. */
async function alone(work) {
  if (acting) return;
  acting = true;
  try {
    await work();
  } finally {
    acting = false;
  }
}

const decide = (decision) => alone(async () => {
  const frame = detail.open ? detail.frame : list.items[grid.active];
  if (!frame) return;
  const note = detail.open ? detail.note.value.trim() : "";
  if (!(await decisions.decide(frame, decision, note))) return;
  if (list.indexOf(frame.id) >= 0) await step(1);
  else detail.note.value = "";
});

const undo = () => alone(async () => {
  const frame = await decisions.undo();
  if (!frame) return;
  const at = list.indexOf(frame.id);
  if (at < 0) toast("Undone, on a frame that is not in this list.");
  else if (detail.open) openAt(at);
  else grid.move(at);
});

// --- what listens ------------------------------------------------------------------------------------

listen({ detail, decide, undo, step, frame: () => framing.toggle(), help: () => byId("help").showModal() });
byId("undo").addEventListener("click", undo);
byId("help-open").addEventListener("click", () => byId("help").showModal());
byId("order").addEventListener("change", (event) => go({ order: event.target.value }));
byId("filters-reset").addEventListener("click", reset);
byId("filters-open").addEventListener("click", ({ currentTarget }) => {
  const open = byId("filters").classList.toggle("open");
  currentTarget.setAttribute("aria-expanded", open);
});
filters.addEventListener("change", ({ detail: change }) => go(change));
threshold.addEventListener("apply", ({ detail: value }) => go({ verdict: ["hard", "easy"], min_iou: null, below_iou: value }));
threshold.addEventListener("clear", () => go({ min_iou: null, below_iou: null }));
grid.addEventListener("open", ({ detail: index }) => openAt(index));
addEventListener("popstate", () => {
  const before = view;
  view = parse(location.search);
  if (!view.frame && detail.open) detail.close();
  if (!sameList(before, view)) show().then(() => view.frame && openNamed(view.frame));
  else if (view.frame && view.frame !== before.frame) openNamed(view.frame);
});

let begun = false;
let wasAway = false;
health.addEventListener("away", () => { wasAway = true; });
health.addEventListener("answered", () => {
  if (!wasAway) return;
  wasAway = false;
  outbox.resume();
  if (begun && list.total === null) show();
  else grid.draw();
});

function start() {
  session.open().catch((fault) => {
    if (fault.status !== 401) list.dispatchEvent(new CustomEvent("fault", { detail: fault }));
  });
}

session.addEventListener("change", async () => {
  if (begun && list.total === null) show();
  if (begun || (!session.name && !session.named)) return;
  begun = true;
  peers.start();
  await show();
  if (view.frame) openNamed(view.frame);
});

statusLine({ session, outbox, decisions, detail, retry: () => (begun ? (show(), peers.look(), outbox.send(0)) : start()) });
start();
