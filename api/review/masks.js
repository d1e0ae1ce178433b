// Masks as coloured layers, in the colours of base.css, which are those of the API's overlays.

const written = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const channels = (hex) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));

export const COLOURS = Object.fromEntries(["teacher", "device", "both"].map((whose) => [whose, channels(written(whose))]));

const FILL = 96;
const FIRM = 190;
const FAINT = 34;

/** A picture, decoded; rejects if there is none. */
export function decoded(src) {
  const image = new Image();
  image.decoding = "async";
  image.src = src;
  return image.decode().then(() => image);
}

/** The mask in a picture: one byte a pixel, 1 inside, with its size. */
export function maskOf(image) {
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const inside = new Uint8Array(width * height);
  for (let at = 0; at < inside.length; at += 1) inside[at] = data[4 * at] > 127 && data[4 * at + 3] > 127 ? 1 : 0;
  return { width, height, inside };
}

function painted({ width, height }, paint) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  const set = (at, [red, green, blue], alpha) => {
    pixels.data[4 * at] = red;
    pixels.data[4 * at + 1] = green;
    pixels.data[4 * at + 2] = blue;
    pixels.data[4 * at + 3] = alpha;
  };
  paint(set);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** Width of an outline in pixels: the same part of every picture. */
const reachOf = ({ width, height }) => Math.max(1, Math.round(Math.max(width, height) / 420));

/** Whether the pixel lies inside, and no more than `reach` pixels from the edge. */
function onEdge({ width, height, inside }, x, y, reach) {
  const at = y * width + x;
  return (
    x < reach || y < reach || x + reach >= width || y + reach >= height ||
    !inside[at - reach] || !inside[at + reach] || !inside[at - reach * width] || !inside[at + reach * width]
  );
}

/** The mask as a tint with a firm outline. */
export function tinted(mask, colour, fill = FILL) {
  const reach = reachOf(mask);
  return painted(mask, (set) => {
    for (let y = 0, at = 0; y < mask.height; y += 1) {
      for (let x = 0; x < mask.width; x += 1, at += 1) {
        if (mask.inside[at]) set(at, colour, onEdge(mask, x, y, reach) ? 255 : fill);
      }
    }
  });
}

/**
 * Both masks: only the teacher's and only the device's part painted, where both agree a breath of white; outlined,
 * or firmer and without outlines. Null if their sizes differ.
 */
export function together(teacher, device, { outlined }) {
  if (teacher.width !== device.width || teacher.height !== device.height) return null;
  const reach = reachOf(teacher);
  const fill = outlined ? FILL : FIRM;
  return painted(teacher, (set) => {
    for (let y = 0, at = 0; y < teacher.height; y += 1) {
      for (let x = 0; x < teacher.width; x += 1, at += 1) {
        const [one, other] = [teacher.inside[at], device.inside[at]];
        if (!one && !other) continue;
        const lines = outlined ? [one && onEdge(teacher, x, y, reach), other && onEdge(device, x, y, reach)] : [false, false];
        if (lines[0] || lines[1]) set(at, lines[0] && lines[1] ? COLOURS.both : lines[0] ? COLOURS.teacher : COLOURS.device, 255);
        else if (one && other) set(at, COLOURS.both, FAINT);
        else set(at, one ? COLOURS.teacher : COLOURS.device, fill);
      }
    }
  });
}
