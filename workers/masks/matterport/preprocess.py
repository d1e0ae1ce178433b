"""From a frame to the network's square input, as Matterport's mode "square" does it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.contracts import Image
from workers.errors import ImageFailed

FULL_SIZE = 1024
"""Side of the input that the weights were trained at (config IMAGE_MAX_DIM)."""
SHORT_SIDE = 800 / FULL_SIZE
"""Share of the input that a frame's shorter side is enlarged to (config IMAGE_MIN_DIM)."""
SIZE_STEP = 64
"""Stride of the coarsest pyramid level; the input has to be a multiple of it."""


@dataclass(frozen=True)
class Square:
    """A frame inside the network's input.

    Attributes:
        image: S x S x 3 float32, RGB, whole numbers from 0 to 255, black around the frame. The network
            subtracts the mean pixel itself.
        window: y1, x1, y2, x2 float32 in pixels of ``image``: where the frame lies, y2 and x2 outside.
    """

    image: NDArray[np.float32]
    window: NDArray[np.float32]


def to_square(image: Image, size: int) -> Square:
    """Resizes a frame so that it fits into ``size`` x ``size``, and centres it on black.

    A frame is enlarged until its shorter side has 800/1024 of the input, never reduced for that, and then
    limited by its longer side. Resized in floating point without smoothing and truncated to whole numbers:
    within 1 of scikit-image's ``resize`` as Matterport calls it, but for the outermost pixels of an
    enlarged frame, which that blends with black.

    Args:
        image: H x W x 3 uint8 RGB.
        size: side of the input, a multiple of 64.

    Raises:
        ImageFailed: the frame is empty, or so narrow that nothing of it is left.
    """
    height, width = image.shape[:2]
    if not height or not width:
        raise ImageFailed(f"The frame has {width} x {height} pixels.", "It is left out.")
    scale = scale_of(height, width, size)
    rows, columns = round(height * scale), round(width * scale)
    if not rows or not columns:
        raise ImageFailed(
            f"A frame of {width} x {height} pixels is too narrow for an input of {size} pixels.",
            "It is left out.",
        )
    top, left = (size - rows) // 2, (size - columns) // 2
    square = np.zeros((size, size, 3), np.float32)
    square[top : top + rows, left : left + columns] = _resized(image, rows, columns)
    return Square(square, np.array([top, left, top + rows, left + columns], np.float32))


def scale_of(height: int, width: int, size: int) -> float:
    """Pixels of the network's input to one of the frame (Matterport Mask R-CNN, resize_image)."""
    scale = max(1.0, SHORT_SIDE * size / min(height, width))
    longest = max(height, width)
    return size / longest if round(longest * scale) > size else scale


def _resized(image: Image, rows: int, columns: int) -> NDArray[np.float32]:
    if image.shape[:2] == (rows, columns):
        return image.astype(np.float32)
    resized = cv2.resize(image.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.trunc(resized).astype(np.float32)
