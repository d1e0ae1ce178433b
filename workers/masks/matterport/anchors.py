"""The anchors of the region proposal network, in Matterport's order."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from workers.masks.matterport.architecture import RATIOS

SCALES = (32, 64, 128, 256, 512)
"""Sides in pixels of the square anchor of each pyramid level P2 to P6 (config RPN_ANCHOR_SCALES)."""
STRIDES = (4, 8, 16, 32, 64)
"""Pixels between the cells of each level (config BACKBONE_STRIDES)."""


@lru_cache(maxsize=4)
def anchors(image_size: int) -> NDArray[np.float32]:
    """The anchors of a square network input.

    Args:
        image_size: its side in pixels, a multiple of 64.

    Returns:
        A x 4 float32, read-only: y1, x1, y2, x2, normalised as ``normalised`` does and not clipped. By
        level, then row, column and ratio, which is the order of the network's outputs. A is 65,472 at
        512 and 261,888 at 1024.
    """
    levels = [_level(image_size, scale, stride) for scale, stride in zip(SCALES, STRIDES, strict=True)]
    boxes = normalised(np.concatenate(levels), image_size, image_size).astype(np.float32)
    boxes.setflags(write=False)
    return boxes


def normalised(boxes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Boxes y1, x1, y2, x2 from pixels to 0..1; y2 and x2 lie one pixel outside (Matterport, norm_boxes)."""
    scale = np.array([height - 1, width - 1, height - 1, width - 1], np.float64)
    shifted: NDArray[np.float64] = (boxes - np.array([0.0, 0.0, 1.0, 1.0])) / scale
    return shifted


def _level(image_size: int, scale: int, stride: int) -> NDArray[np.float64]:
    heights, widths = scale / np.sqrt(RATIOS), scale * np.sqrt(RATIOS)
    half = np.stack([heights, widths], axis=-1) / 2
    cells = np.arange(0, image_size, stride, dtype=np.float64)
    centres = np.stack(np.meshgrid(cells, cells, indexing="ij"), axis=-1)[:, :, None, :]
    return np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4)
