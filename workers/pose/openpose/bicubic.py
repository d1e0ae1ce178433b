"""Maps at an eighth of the network's size, read as if they were up-sampled with bicubic interpolation.

OpenPose up-samples whole maps (``cv2.resize`` with ``INTER_CUBIC``, pixel centres at halves, edges repeated).
Interpolating only where a value is asked for gives the same numbers, to the rounding of float32.
"""

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.pose.geometry import Floats

Indices = NDArray[np.int64]
Doubles = NDArray[np.float64]

STRIDE = 8
"""Pixels of the network's input for one cell of its maps (three poolings by two)."""
SHARPNESS = -0.75
"""The free parameter of the cubic kernel as OpenCV has it (Keys 1981 writes it as a; there it is -0.5)."""
AT_ONCE = 4096
"""Pixels interpolated together: what they need stays in the processor's cache."""
PADDING = 3
"""Cells repeated around a map, so that the pixels at its edge and beside it have 4 x 4 cells too."""


def cubic_weights(fraction: Doubles) -> Floats:
    """Weights of the four cells around each position.

    Args:
        fraction: [n], how far the position is from the second cell towards the third, in [0, 1).

    Returns:
        [n, 4]; each row sums to 1 (Keys, "Cubic convolution interpolation", 1981).
    """
    cells = np.arange(-1, 3)
    d = np.abs(fraction[:, None] - cells)
    near = (SHARPNESS + 2) * d**3 - (SHARPNESS + 3) * d**2 + 1
    far = SHARPNESS * (d**3 - 5 * d**2 + 8 * d - 4)
    weights: Floats = np.where(d <= 1, near, far).astype(np.float32)
    return weights


def pixel_centre_in_cells(pixels: Indices) -> Doubles:
    """Position of pixel centres on the axis whose whole numbers are the centres of cells."""
    return (pixels + 0.5) / STRIDE - 0.5


def up_sample(cells: Floats) -> Floats:
    """One whole map (h x w float32) at the network's size: 8 h x 8 w float32."""
    height, width = cells.shape
    size = (width * STRIDE, height * STRIDE)
    return np.asarray(cv2.resize(cells, size, interpolation=cv2.INTER_CUBIC), np.float32)


@functools.cache
def pixel_kernels() -> Floats:
    """16 x 64: the weights of the 4 x 4 cells around a pixel, by its row in a cell times 8 plus column."""
    centres = pixel_centre_in_cells(np.arange(STRIDE))
    weights = cubic_weights(centres - np.floor(centres))
    both: Floats = np.einsum("ia,jb->abij", weights, weights).reshape(16, STRIDE * STRIDE)
    return both


class Maps:
    """Several maps, of which single pixels are read at the network's size.

    Args:
        cells: C x h x w float32.

    Attributes:
        padded: C x (h + 6) x (w + 6): the cells with their edges repeated.
        height: of the up-sampled maps, in pixels.
        width: likewise.
    """

    def __init__(self, cells: Floats) -> None:
        self.padded = np.pad(cells, ((0, 0), (PADDING, PADDING), (PADDING, PADDING)), mode="edge")
        self.height, self.width = cells.shape[1] * STRIDE, cells.shape[2] * STRIDE

    def sample(self, channels: Indices, ys: Indices, xs: Indices) -> Floats:
        """The values at pixels of the up-sampled maps: float32 of the shape of ``channels``.

        Args:
            channels: [..., n], which map.
            ys: [n], whole pixels; what lies outside reads the nearest pixel.
            xs: [n], likewise.
        """
        values = np.empty(channels.shape, np.float32)
        for start in range(0, len(ys), AT_ONCE):
            now = slice(start, start + AT_ONCE)
            values[..., now] = self._interpolated(channels[..., now], ys[now], xs[now])
        return values

    def _interpolated(self, channels: Indices, ys: Indices, xs: Indices) -> Floats:
        ys, xs = np.clip(ys, 0, self.height - 1), np.clip(xs, 0, self.width - 1)
        _, rows, columns = self.padded.shape
        # Pixel 8 c + 4 is the first whose four cells are c - 1 ... c + 2; the padding moves them.
        first_row, first_column = ((at + STRIDE // 2) // STRIDE + PADDING - 2 for at in (ys, xs))
        first = channels * (rows * columns) + (first_row * columns + first_column)
        around = (np.arange(4)[:, None] * columns + np.arange(4)).reshape(16)
        weights = pixel_kernels().take((ys % STRIDE) * STRIDE + xs % STRIDE, axis=1)
        values = self.padded.reshape(-1).take(first[..., None, :] + around[:, None])
        sums: Floats = np.einsum("...kn,kn->...n", values, weights)
        return sums
