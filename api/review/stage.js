// The pictures of one frame: side by side, overlay, blink, difference; zoomed and moved together.

import { picture } from "./api.js";
import { widthFor } from "./card.js";
import { el } from "./dom.js";
import { COLOURS, decoded, maskOf, tinted, together } from "./masks.js";

const WIDTHS = [640, 1280, 1920];
const MOST = 16;
/** Each mask shows for a quarter of a second: two turns a second, below the three flashes of WCAG 2.3.1. */
const BLINK_MS = 250;
/** Room around the person, as a part of the box. */
const ROOM = 0.15;

const PANELS = { side: ["frame", "overlay", "teacher", "device"], overlay: ["overlay"], blink: ["blink"], difference: ["difference"] };

/** What stands on a panel: whose colours are to be seen, and in what words. */
const SAYS = {
  frame: [["", "Frame"]],
  teacher: [["teacher", "Teacher"]],
  device: [["device", "Device"]],
  overlay: [["teacher", "Teacher"], ["device", "Device"]],
  difference: [["teacher", "Only the teacher"], ["device", "Only the device"]],
};

const caption = (kind) => SAYS[kind].map(([whose, text]) => el("span", { class: whose ? `on-${whose}` : "", text }));

/** Dispatches "change" when the view, the blinking or the fit has changed, and "fault" when a picture is missing. */
export class Stage extends EventTarget {
  view = matchMedia("(max-width: 860px)").matches ? "overlay" : "side";
  /** "whole" or "person"; null while one has zoomed by hand. */
  fit = "whole";
  paused = matchMedia("(prefers-reduced-motion: reduce)").matches;
  #blinked = "teacher";
  #camera = { zoom: 1, x: 0, y: 0 };
  #panels = [];
  #layers = {};
  #frame = null;
  #timer = 0;
  #turn = 0;
  #held = new Map();

  constructor(root) {
    super();
    this.root = root;
    new ResizeObserver(() => this.#sized()).observe(root);
    root.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    root.addEventListener("pointerdown", (event) => this.#down(event));
    root.addEventListener("pointermove", (event) => this.#drag(event));
    for (const end of ["pointerup", "pointercancel"]) root.addEventListener(end, (event) => this.#held.delete(event.pointerId));
    this.#build();
  }

  /** Shows a frame of a list; `detail` comes later, with the person's box. */
  async show(frame) {
    const turn = (this.#turn += 1);
    this.#frame = frame;
    this.#layers = {};
    this.root.classList.toggle("upright", frame.height > frame.width);
    this.#fit();
    const load = (kind) => decoded(picture(frame.id, kind, this.#pictureWidth)).catch(() => null);
    const [photo, teacher, device] = await Promise.all([load("frame"), load("teacher"), load("device")]);
    if (turn !== this.#turn) return;
    const masks = { teacher: teacher && maskOf(teacher), device: device && maskOf(device) };
    this.#layers = { photo };
    for (const kind of ["teacher", "device"]) if (masks[kind]) this.#layers[kind] = tinted(masks[kind], COLOURS[kind]);
    if (masks.teacher && masks.device) {
      this.#layers.overlay = together(masks.teacher, masks.device, { outlined: true });
      this.#layers.difference = together(masks.teacher, masks.device, { outlined: false });
    }
    this.missing = [["the picture", photo], ["the teacher's mask", teacher], ["the device's mask", device]].filter(([, it]) => !it).map(([name]) => name);
    this.dispatchEvent(new Event("change"));
    this.#draw();
  }

  /** Has the browser fetch the pictures of a frame that is likely to be the next. */
  prepare(frame) {
    for (const kind of frame.iou === null ? ["frame"] : ["frame", "teacher", "device"]) {
      new Image().src = picture(frame.id, kind, this.#pictureWidth);
    }
  }

  get #pictureWidth() {
    return widthFor(this.root.clientWidth || 640, WIDTHS);
  }

  /** The person's box, once it is known. */
  set person(box) {
    if (this.#frame) this.#frame = { ...this.#frame, box };
    this.#fit();
  }

  /** Shows the same frame another way. */
  look(view) {
    this.view = view;
    this.#build();
    this.dispatchEvent(new Event("change"));
  }

  /** Fits the whole frame, or the person. */
  fitTo(what) {
    this.fit = what;
    this.#fit();
    this.dispatchEvent(new Event("change"));
  }

  /** Zooms about the middle. */
  zoom(factor) {
    const panel = this.#panels[0]?.canvas;
    if (panel) this.#zoomAt(factor, panel.clientWidth / 2, panel.clientHeight / 2, panel);
  }

  /** Stops the blinking, or lets it go on. */
  pause(paused = !this.paused) {
    this.paused = paused;
    this.#beat();
    this.dispatchEvent(new Event("change"));
  }

  /** Shows the other mask. */
  swap() {
    this.#blinked = this.#blinked === "teacher" ? "device" : "teacher";
    this.#caption();
    this.#draw();
  }

  /** The page shows something else: nothing blinks behind it. */
  rest() {
    this.#turn += 1;
    this.#frame = null;
    this.#layers = {};
    clearInterval(this.#timer);
  }

  #build() {
    this.#panels = PANELS[this.view].map((kind) => {
      const says = el("figcaption", {}, ...caption(kind === "blink" ? this.#blinked : kind));
      const canvas = el("canvas", { role: "img", "aria-label": kind === "blink" ? "Teacher and device in turn" : says.textContent });
      return { kind, canvas, says, figure: el("figure", {}, canvas, says) };
    });
    this.root.dataset.view = this.view;
    this.root.replaceChildren(...this.#panels.map(({ figure }) => figure));
    this.#sized();
    this.#beat();
  }

  #beat() {
    clearInterval(this.#timer);
    if (this.view === "blink" && !this.paused && this.#frame) this.#timer = setInterval(() => this.swap(), BLINK_MS);
  }

  #caption() {
    if (this.view === "blink") this.#panels[0].says.replaceChildren(...caption(this.#blinked));
  }

  #sized() {
    for (const { canvas } of this.#panels) {
      const scale = devicePixelRatio || 1;
      canvas.width = Math.round(canvas.clientWidth * scale);
      canvas.height = Math.round(canvas.clientHeight * scale);
    }
    this.#fit();
  }

  #fit() {
    if (!this.#frame) return;
    const { width, height, box } = this.#frame;
    if (this.fit === null) return this.#draw();
    this.#camera = { zoom: 1, x: width / 2, y: height / 2 };
    const canvas = this.#panels[0]?.canvas;
    if (this.fit === "person" && box && canvas?.width) {
      const [x0, y0, x1, y1] = box;
      const room = 1 + 2 * ROOM;
      const scale = Math.min(canvas.width / ((x1 - x0) * room), canvas.height / ((y1 - y0) * room));
      const zoom = Math.min(MOST, Math.max(1, scale / this.#base(canvas)));
      this.#camera = { zoom, x: (x0 + x1) / 2, y: (y0 + y1) / 2 };
    }
    this.#beat();
    return this.#draw();
  }

  /** Canvas pixels to a pixel of the frame when the whole frame is fitted. */
  #base(canvas) {
    return Math.min(canvas.width / this.#frame.width, canvas.height / this.#frame.height);
  }

  #draw() {
    if (!this.#frame) return;
    for (const { kind, canvas } of this.#panels) {
      const context = canvas.getContext("2d");
      const scale = this.#base(canvas) * this.#camera.zoom;
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.translate(canvas.width / 2, canvas.height / 2);
      context.scale(scale, scale);
      context.translate(-this.#camera.x, -this.#camera.y);
      context.imageSmoothingEnabled = scale < 4;
      for (const layer of this.#shown(kind)) {
        const drawn = this.#layers[layer];
        if (!drawn) continue;
        context.globalAlpha = layer === "photo" && kind === "difference" ? 0.55 : 1;
        context.drawImage(drawn, 0, 0, this.#frame.width, this.#frame.height);
      }
    }
  }

  #shown(kind) {
    if (kind === "frame") return ["photo"];
    // A frame that the teacher's doubts have ended has one mask at most.
    if (kind === "overlay" && !this.#layers.overlay) return ["photo", "device", "teacher"];
    return ["photo", kind === "blink" ? this.#blinked : kind];
  }

  #wheel(event) {
    const canvas = event.target.closest("figure")?.querySelector("canvas");
    if (!canvas || !this.#frame) return;
    event.preventDefault();
    const { left, top } = canvas.getBoundingClientRect();
    this.#zoomAt(Math.exp(-event.deltaY / 300), event.clientX - left, event.clientY - top, canvas);
  }

  #zoomAt(factor, x, y, canvas) {
    if (!this.#frame) return;
    const zoom = Math.min(MOST, Math.max(1, this.#camera.zoom * factor));
    const ratio = devicePixelRatio || 1;
    const [dx, dy] = [x * ratio - canvas.width / 2, y * ratio - canvas.height / 2];
    const [before, after] = [this.#base(canvas) * this.#camera.zoom, this.#base(canvas) * zoom];
    this.#go(this.#camera.x + dx / before - dx / after, this.#camera.y + dy / before - dy / after, zoom);
  }

  #go(x, y, zoom) {
    const { width, height } = this.#frame;
    const whole = zoom === 1;
    this.#camera = { zoom, x: whole ? width / 2 : Math.min(width, Math.max(0, x)), y: whole ? height / 2 : Math.min(height, Math.max(0, y)) };
    this.fit = whole ? "whole" : null;
    this.dispatchEvent(new Event("change"));
    this.#draw();
  }

  #down(event) {
    if (event.target.tagName !== "CANVAS" || !this.#frame) return;
    this.#held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    event.target.setPointerCapture(event.pointerId);
  }

  #drag(event) {
    const held = this.#held.get(event.pointerId);
    if (!held || !this.#frame) return;
    const now = { x: event.clientX, y: event.clientY };
    const canvas = event.target;
    const others = [...this.#held].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    if (others.length) {
      const far = (one) => Math.hypot(one.x - others[0].x, one.y - others[0].y) || 1;
      const { left, top } = canvas.getBoundingClientRect();
      this.#zoomAt(far(now) / far(held), (now.x + others[0].x) / 2 - left, (now.y + others[0].y) / 2 - top, canvas);
    } else if (this.#camera.zoom > 1) {
      const scale = (this.#base(canvas) * this.#camera.zoom) / (devicePixelRatio || 1);
      this.#go(this.#camera.x - (now.x - held.x) / scale, this.#camera.y - (now.y - held.y) / scale, this.#camera.zoom);
    }
    this.#held.set(event.pointerId, now);
  }
}
