// Masks as coloured layers. Colours are those of the API's overlays; colour-blind people tell them apart.

export const COLOURS = { teacher: [230, 159, 0], device: [47, 155, 224], both: [255, 255, 255] };

const FILL = 96;
const FAINT = 40;

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
  const reach = Math.max(1, Math.round(Math.max(mask.width, mask.height) / 420));
  return painted(mask, (set) => {
    for (let y = 0, at = 0; y < mask.height; y += 1) {
      for (let x = 0; x < mask.width; x += 1, at += 1) {
        if (mask.inside[at]) set(at, colour, onEdge(mask, x, y, reach) ? 255 : fill);
      }
    }
  });
}

/** Where the masks differ: only the teacher, only the device; where both agree is faint. Null if sizes differ. */
export function difference(teacher, device) {
  if (teacher.width !== device.width || teacher.height !== device.height) return null;
  return painted(teacher, (set) => {
    for (let at = 0; at < teacher.inside.length; at += 1) {
      const [one, other] = [teacher.inside[at], device.inside[at]];
      if (one && other) set(at, COLOURS.both, FAINT);
      else if (one) set(at, COLOURS.teacher, 190);
      else if (other) set(at, COLOURS.device, 190);
    }
  });
}
