// What the head of the page says: who reviews, what is saved, whether the API is there.

import { health } from "./api.js";
import { byId, el } from "./dom.js";
import { count } from "./words.js";

/** Keeps the head of the page true. `retry()` asks the API again for all that is shown. */
export function statusLine({ session, outbox, decisions, detail, retry }) {
  const save = () => showSaved(outbox, session);
  outbox.addEventListener("change", save);
  session.addEventListener("change", save);
  session.addEventListener("change", () => showName(session));
  const undos = () => { byId("undo").disabled = detail.undo.disabled = decisions.depth === 0; };
  decisions.addEventListener("change", undos);
  byId("who").addEventListener("click", () => (session.named ? session.askName() : session.leave()));
  health.addEventListener("answered", () => { byId("away").hidden = true; });
  health.addEventListener("away", ({ detail }) => showAway(detail, retry));
  save();
  undos();
}

function showName(session) {
  const name = session.name;
  const looks = !session.named && name !== null && !session.may("review");
  byId("who").textContent = looks ? `${name} · may only look` : name ?? "Your name";
  byId("who").title = session.named ? "Change the name that you review under" : "Sign out";
  byId("who").setAttribute("aria-label", session.named ? `Reviewing as ${name ?? "nobody yet"}: change the name` : `Signed in as ${byId("who").textContent}: sign out`);
}

function saved(waiting, others, outbox) {
  if (waiting && outbox.problem) return ["late", `${count(waiting)} not saved yet`];
  if (waiting) return ["busy", `Saving ${count(waiting)} …`];
  if (others) return ["late", `${count(others)} of another reviewer not saved yet`];
  return ["done", outbox.active ? "All saved" : ""];
}

function showSaved(outbox, session) {
  const all = outbox.waiting();
  const mine = all.filter((item) => session.named || item.reviewer === session.name).length;
  const [state, text] = saved(mine, all.length - mine, outbox);
  const line = byId("save-state");
  line.dataset.state = state;
  if (line.textContent !== text) line.textContent = text;
  line.title = outbox.unsafe ? "This browser keeps nothing: leave the page open until all is saved." : outbox.problem?.message ?? "";
  showRefused(outbox);
}

function showRefused(outbox) {
  const refused = outbox.refused();
  const box = byId("refused");
  box.hidden = refused.length === 0;
  if (box.hidden) return;
  const list = el("ul", {}, ...refused.slice(0, 5).map((item) => el("li", { text: `${item.decision} ${item.frame_id}: ${item.reason}` })));
  const what = refused.length === 1 ? "One decision was" : `${count(refused.length)} decisions were`;
  box.replaceChildren(
    el("p", { text: `${what} refused by the API and not saved:` }), list,
    el("button", { class: "quiet", text: "I have seen it", on: { click: () => outbox.dismiss() } }),
  );
}

function showAway(problem, retry) {
  const box = byId("away");
  if (!box.hidden) return;
  const text = problem.status ? problem.message : "The API does not answer. Decisions are kept in this browser and saved when it is back.";
  box.replaceChildren(el("p", { text }), el("button", { class: "quiet", text: "Try again", on: { click: retry } }));
  box.hidden = false;
}
