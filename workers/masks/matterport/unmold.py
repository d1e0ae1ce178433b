"""From the network's boxes and small masks back to the frame (Matterport Mask R-CNN, unmold_detections)."""

import numpy as np
from numpy.typing import NDArray

from workers.contracts import Mask
from workers.masks.matterport.anchors import normalised

MASK_THRESHOLD = 0.5
"""From this probability on, a pixel belongs to the mask (Matterport, unmold_mask)."""


def frame_boxes(
    boxes: NDArray[np.float32], window: NDArray[np.float32], image_size: int, height: int, width: int
) -> NDArray[np.int64]:
    """Boxes of the network's input as boxes of the frame.

    Args:
        boxes: D x 4: y1, x1, y2, x2, normalised over the input.
        window: y1, x1, y2, x2 in pixels of the input: where the frame lies.
        image_size: side of the input.
        height: of the frame.
        width: of the frame.

    Returns:
        D x 4 int64: y1, x1, y2, x2 in pixels of the frame, y2 and x2 outside; may be empty boxes.
    """
    y1, x1, y2, x2 = normalised(window.astype(np.float64), image_size, image_size)
    shift, scale = np.array([y1, x1, y1, x1]), np.array([y2 - y1, x2 - x1, y2 - y1, x2 - x1])
    inside = (boxes.astype(np.float64) - shift) / scale
    pixels = inside * [height - 1, width - 1, height - 1, width - 1] + [0.0, 0.0, 1.0, 1.0]
    whole: NDArray[np.int64] = np.clip(np.rint(pixels), 0, [height, width, height, width]).astype(np.int64)
    return whole


def frame_mask(mask: NDArray[np.float32], box: NDArray[np.int64], height: int, width: int) -> Mask:
    """A mask at the frame's size.

    Args:
        mask: 28 x 28 in [0, 1], over the box.
        box: y1, x1, y2, x2 in pixels of the frame; an empty one gives an empty mask.
        height: of the frame.
        width: of the frame.
    """
    y1, x1, y2, x2 = (int(side) for side in box)
    full = np.zeros((height, width), np.bool_)
    if y2 > y1 and x2 > x1:
        full[y1:y2, x1:x2] = resized(mask, y2 - y1, x2 - x1) >= MASK_THRESHOLD
    return full


def edge_pixels(mask: NDArray[np.float32], box: NDArray[np.int64], height: int, width: int) -> int:
    """Pixels on the frame edge that the object touches most, as the outermost samples of ``mask`` tell.

    ``frame_mask`` runs towards 0 at the edges of the box, so the mask of a body that the frame cuts off ends
    before the frame does, unless the network is nearly certain: in a box of 600 pixels from 0.98 on.

    Args:
        mask: 28 x 28 in [0, 1], over the box.
        box: y1, x1, y2, x2 in pixels of the frame.
        height: of the frame.
        width: of the frame.
    """
    y1, x1, y2, x2 = (int(side) for side in box)
    if y2 <= y1 or x2 <= x1:
        return 0
    touched = (
        (y1 == 0, mask[0], x2 - x1), (y2 == height, mask[-1], x2 - x1),
        (x1 == 0, mask[:, 0], y2 - y1), (x2 == width, mask[:, -1], y2 - y1),
    )  # fmt: skip
    lines = [_weights(length, len(samples)) @ samples for touches, samples, length in touched if touches]
    return max((int(np.count_nonzero(line >= MASK_THRESHOLD)) for line in lines), default=0)


def resized(mask: NDArray[np.float32], height: int, width: int) -> NDArray[np.float64]:
    """``mask`` resized bilinearly between pixel centres, as scikit-image does with ``order=1``,
    ``mode="constant"`` and no smoothing: beyond its outermost centres it runs towards 0.
    """
    values = mask.astype(np.float64)
    return _weights(height, mask.shape[0]) @ values @ _weights(width, mask.shape[1]).T


def _weights(to: int, of: int) -> NDArray[np.float64]:
    """``to`` x ``of``: what each given sample adds to each wanted one."""
    wanted = (np.arange(to) + 0.5) * of / to - 0.5
    distance = np.abs(wanted[:, None] - np.arange(of)[None, :])
    weights: NDArray[np.float64] = np.maximum(0.0, 1.0 - distance)
    return weights
