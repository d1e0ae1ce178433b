// What is shown, as the address says it: a view can be shared, and Back works.

const LISTS = ["job", "video", "verdict", "pose", "review"];
const ORDERS = ["iou", "-iou", "doubt", "-doubt", "pose", "time"];
/** What the page opens with: hard frames, the worst first. */
const VERDICT = "hard";
/** In the address: all verdicts, which an address without any would not say. */
const ANY = "any";

const bound = (text) => {
  const value = Number(text);
  return text !== null && text !== "" && value >= 0 && value <= 1 ? value : null;
};

/** The view that a query string asks for; nonsense in it asks for nothing. */
export function parse(search) {
  const given = new URLSearchParams(search);
  const view = Object.fromEntries(LISTS.map((name) => [name, [...new Set(given.getAll(name))].filter(Boolean)]));
  if (!given.has("verdict")) view.verdict = [VERDICT];
  view.verdict = view.verdict.filter((verdict) => verdict !== ANY);
  view.order = ORDERS.includes(given.get("order")) ? given.get("order") : "iou";
  view.min_iou = bound(given.get("min_iou"));
  view.below_iou = bound(given.get("below_iou"));
  view.frame = given.get("frame") || null;
  return view;
}

/** The query string of a view, with "?"; "" for what the page opens with. */
export function write(view) {
  const given = new URLSearchParams();
  for (const name of LISTS.filter((name) => name !== "verdict")) view[name].forEach((value) => given.append(name, value));
  if (!view.verdict.length) given.append("verdict", ANY);
  else if (view.verdict.join() !== VERDICT) view.verdict.forEach((value) => given.append("verdict", value));
  if (view.order !== "iou") given.set("order", view.order);
  if (view.min_iou !== null) given.set("min_iou", view.min_iou);
  if (view.below_iou !== null) given.set("below_iou", view.below_iou);
  if (view.frame) given.set("frame", view.frame);
  const text = given.toString();
  return text ? `?${text}` : "";
}

/** The part of a view that the API's lists of frames understand, without paging. */
export function filter(view) {
  const asked = Object.fromEntries(LISTS.map((name) => [name, view[name]]));
  return { ...asked, min_iou: view.min_iou, below_iou: view.below_iou };
}

/** Whether two views show the same list. */
export const sameList = (one, other) => write({ ...one, frame: null }) === write({ ...other, frame: null });
