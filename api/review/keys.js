// The keyboard, for the gallery and the open frame alike.

import { byId } from "./dom.js";

const TYPES = "input:not([type=checkbox]):not([type=range]), textarea, select";
/** Moved by arrow keys themselves. */
const ARROWS = "input, select";
/** Where a letter decides nothing: the focus is on something else than a frame. */
const ELSEWHERE = ".filters, .sort";

/** Listens to the whole document. Nothing happens while another dialog is open or someone writes. */
export function listen({ detail, decide, undo, step, frame, help }) {
  const always = {
    k: () => decide("keep"),
    r: () => decide("reject"),
    u: undo,
    j: () => step(1),
    J: () => step(-1),
    "?": help,
  };
  const inGallery = { f: frame };
  const inDetail = { ArrowRight: () => step(1), ArrowDown: () => step(1), ArrowLeft: () => step(-1), ArrowUp: () => step(-1) };

  document.addEventListener("keydown", (event) => {
    if (["help", "name", "signin"].some((id) => byId(id).open)) return;
    const writing = event.target.matches?.(TYPES);
    const key = event.key.length === 1 && event.key !== "J" ? event.key.toLowerCase() : event.key;
    if ((event.ctrlKey || event.metaKey) && !event.altKey && key === "z" && !event.shiftKey) {
      if (writing) return;
      undo();
    } else if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    } else if (writing) {
      // Enter ends a note; Escape leaves it without closing the frame.
      if (!detail.open || !["Enter", "Escape"].includes(event.key)) return;
      event.target.blur();
    } else if (key !== "?" && event.target.closest?.(ELSEWHERE)) {
      return;
    } else if (always[key]) {
      always[key]();
    } else if (!detail.open && inGallery[key]) {
      inGallery[key]();
    } else if (detail.open && inDetail[key] && !event.target.matches?.(ARROWS)) {
      inDetail[key]();
    } else if (!(detail.open && detail.key(key))) {
      return;
    }
    event.preventDefault();
  });
}
