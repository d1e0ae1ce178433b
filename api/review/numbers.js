// All that is known of one frame, in words and numbers.

import { el, sign } from "./dom.js";
import { DECISIONS, POSES, REVIEWS, VERDICTS, clock, measure, plain, ratio } from "./words.js";

/** The link to the very moment of a video, where its site knows such links; else the link; null for a file. */
export function momentOf({ source }, timeMs) {
  let url;
  try {
    url = new URL(source);
  } catch {
    return null;
  }
  if (!/^https?:$/.test(url.protocol)) return null;
  const seconds = Math.floor(timeMs / 1000);
  if (/(^|\.)(youtube\.com|youtu\.be|youtube-nocookie\.com)$/.test(url.hostname)) url.searchParams.set("t", `${seconds}s`);
  else if (/(^|\.)vimeo\.com$/.test(url.hostname)) url.hash = `t=${seconds}s`;
  else if (/(^|\.)dailymotion\.com$/.test(url.hostname)) url.searchParams.set("start", seconds);
  // A file on a web server: the standard's own way (Media Fragments URI 1.0).
  else if (/\.(mp4|webm|ogv|mov|m4v)$/i.test(url.pathname)) url.hash = `t=${(timeMs / 1000).toFixed(2)}`;
  return url.href;
}

const rows = (pairs) => el("dl", { class: "rows" }, ...pairs.filter(([, value]) => value !== null && value !== "").map(
  ([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", {}, value)),
));

const part = (title, ...content) => el("section", {}, el("h3", { text: title }), ...content);

/** The big numbers, from a frame of a list. */
export function headline(frame, review) {
  return el("div", { class: "headline" },
    el("div", {}, el("small", { text: "IoU" }), el("b", { text: ratio(frame.iou) })),
    el("div", {}, el("small", { text: "Doubt" }), el("b", { text: ratio(frame.doubt) })),
    el("div", { class: "state", "data-review": review }, el("small", { text: "Review" }), el("b", {}, sign(review), REVIEWS[review])));
}

/** What only the detail of a frame tells. `only(video)` narrows the gallery to its video. */
export function story(detail, events, only) {
  const { keeper, video, recipe } = detail;
  const moment = momentOf(video, detail.time_ms);
  const at = clock(detail.time_ms);
  return [
    part("Frame", rows([
      ["Verdict", VERDICTS[detail.verdict] ?? detail.verdict],
      ["Fault", keeper.fault || null],
      ["Decided by", detail.value === null ? null : measure(detail.value)],
      ["Pose", detail.pose_class ? POSES[detail.pose_class] : "not classed"],
      ["Size", `${detail.width} × ${detail.height}`],
    ])),
    part("Where it comes from", rows([
      ["Video", video.title || video.id],
      ["By", video.uploader],
      ["Licence", video.licence],
      ["At", moment ? el("a", { href: moment, target: "_blank", rel: "noopener noreferrer", text: `${at} in the video` }) : at],
      ["Segment", String(detail.segment)],
    ]), el("button", { class: "quiet", text: "Only this video", on: { click: only } })),
    part("Decisions", events.length ? history(events) : el("p", { class: "faint", text: "Nobody has decided yet." })),
    part("Measures", rows(Object.entries(keeper.measures).sort().map(([name, value]) => [plain(name), measure(value)]))),
    part("Models", rows([
      ["Pose", model(recipe.pose_model)],
      ["Teacher", model(recipe.mask_model)],
      ["Device", model(recipe.device_model)],
      ["Threshold", recipe.comparison.iou_threshold.toFixed(2)],
      ["Recipe", el("code", { text: detail.recipe_id })],
    ])),
  ];
}

const model = ({ name, version }) => `${name}${version ? ` ${version}` : ""}`;

function history(events) {
  return el("ol", { class: "history" }, ...events.map((event) => el("li", {},
    el("b", { text: event.reviewer }), ` ${DECISIONS[event.decision] ?? event.decision}`,
    event.number === undefined ? el("span", { class: "faint", text: " · not saved yet" }) : null,
    event.note ? el("q", { text: event.note }) : null)));
}
