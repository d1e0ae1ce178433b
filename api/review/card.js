// One frame in the gallery.

import { picture } from "./api.js";
import { el, sign } from "./dom.js";
import { POSES, REVIEWS, VERDICTS, clock, ratio } from "./words.js";

const WIDTHS = [320, 480, 640];

/** The smallest of a few widths that is sharp at `css` pixels: few widths, so that the API's small pictures serve all. */
export function widthFor(css, widths = WIDTHS) {
  const needed = css * Math.min(devicePixelRatio || 1, 2);
  return widths.find((width) => width >= needed) ?? widths.at(-1);
}

const spoken = (frame, review) => [
  `IoU ${ratio(frame.iou)}`,
  VERDICTS[frame.verdict] ?? frame.verdict,
  frame.pose_class ? POSES[frame.pose_class] : "no pose class",
  frame.doubt === null ? null : `doubt ${ratio(frame.doubt)}`,
  REVIEWS[review],
  `${frame.title} at ${clock(frame.time_ms)}`,
].filter(Boolean).join(", ");

/** A card of `frame`; `ledger` knows its review, `width()` the picture's in CSS pixels, `crop()` what is shown of it. */
export function makeCard(frame, { ledger, session, width, crop }) {
  const image = el("img", { alt: "", decoding: "async", draggable: "false" });
  const badge = el("span", { class: "badge" });
  const by = el("span", { class: "by" });
  const meter = el("span", { class: "meter" }, el("i"));
  meter.firstElementChild.style.width = `${(frame.iou ?? 0) * 100}%`;
  const card = el("div", { class: "card" },
    el("div", { class: "picture" }, image, el("span", { class: "verdict", text: VERDICTS[frame.verdict] ?? frame.verdict })),
    el("div", { class: "words" },
      el("div", { class: "line" }, el("span", { class: "iou" }, el("small", { text: "IoU" }), ` ${ratio(frame.iou)}`), meter, badge),
      el("div", { class: "line faint" },
        el("span", { class: "pose", text: frame.pose_class ? POSES[frame.pose_class] : "Pose not classed" }),
        by,
        el("span", { class: "doubt", title: "Doubt in the teacher's mask: 0 none, 1 most", text: frame.doubt === null ? "" : `doubt ${ratio(frame.doubt)}` }))));
  card.update = () => update(card, { frame, badge, by, ledger, session });
  card.load = () => load(image, frame, widthFor(width()), crop());
  card.drop = () => image.removeAttribute("src");
  card.update();
  return card;
}

function update(card, { frame, badge, by, ledger, session }) {
  const review = ledger.review(frame);
  card.dataset.review = review;
  badge.replaceChildren(sign(review), REVIEWS[review]);
  const others = ledger.said(frame.id).map((event) => event.reviewer).filter((name) => name !== session.name);
  by.textContent = others.length ? others.join(", ") : "";
  card.setAttribute("aria-label", spoken(frame, review) + (others.length ? `, decided by ${others.join(", ")}` : ""));
}

function load(image, frame, width, crop) {
  if (image.hasAttribute("src")) return;
  const kinds = frame.iou === null ? ["frame"] : ["overlay", "frame"];
  const next = () => {
    const kind = kinds.shift();
    if (kind) image.src = picture(frame.id, kind, width, crop);
    else image.closest(".picture")?.classList.add("missing");
  };
  image.onload = () => image.classList.add("here");
  image.onerror = () => image.hasAttribute("src") && next();
  next();
}
