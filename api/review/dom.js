// Small helpers for the document. Styles are set through the CSSOM: the page's policy refuses style attributes.

/** The element with this id; a missing one is a defect of index.html. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

/** A new element: `text`, `on` (listeners) and `class` are special, the rest are attributes. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name === "on") for (const [event, run] of Object.entries(value)) made.addEventListener(event, run);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** A new SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const PATHS = {
  open: "M8 3a5 5 0 1 1 0 10a5 5 0 1 1 0-10",
  kept: "M3 8.5l3.3 3.5L13 4.5",
  rejected: "M4 4l8 8M12 4l-8 8",
  disputed: "M3 6h10M3 10h10M10.5 2.5l-5 11",
};

/** The sign of a review state: its shape says the same as its colour. */
export function sign(review) {
  return svg("svg", { viewBox: "0 0 16 16", class: "sign", "aria-hidden": "true" }, svg("path", { d: PATHS[review] }));
}

/** Says something in the corner, for eyes and screen readers, and takes it away again. */
export function toast(text, { action = null, onAction = null, seconds = 5 } = {}) {
  const box = el("div", { class: "toast" }, el("span", { text }));
  if (action) box.append(el("button", { class: "quiet", text: action, on: { click: () => { box.remove(); onAction(); } } }));
  const all = byId("toasts");
  while (all.children.length > 2) all.firstElementChild.remove();
  all.append(box);
  setTimeout(() => box.remove(), seconds * 1000);
}

/** A function that runs `work` once, `ms` after its last call. */
export function later(ms, work) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), ms);
  };
}
