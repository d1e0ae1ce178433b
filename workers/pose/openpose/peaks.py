"""Where parts are: the local maxima of the heat maps at the network's size."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.pose.geometry import Floats
from workers.pose.openpose.bicubic import (
    STRIDE,
    Doubles,
    Indices,
    Maps,
    cubic_weights,
    pixel_centre_in_cells,
    up_sample,
)

POSITIVE_GAIN = 1.4453125
NEGATIVE_GAIN = 0.4453125
"""Largest sums of the positive and of the negative weights of the 4 x 4 cells around a pixel.

Half-way between cells the four weights of one axis are -0.09375, 0.59375, 0.59375, -0.09375.
"""
WHOLE_SHARE = 0.2
"""A map with more than this share of blocks that may hold a peak is up-sampled as a whole: cheaper."""
WINDOW = 3
"""A peak's place is the mean of the pixels up to so far from its maximum, weighted with their values."""


@dataclass(frozen=True)
class Peaks:
    """Peaks of all parts: sorted by part, within a part from the top of the image, then from the left.

    Attributes:
        parts: [n] which part.
        x: [n] float64 pixels of the network's input.
        y: [n] likewise.
        scores: [n] float64, the heat map at the peak.
    """

    parts: Indices
    x: Doubles
    y: Doubles
    scores: Doubles

    def __len__(self) -> int:
        return len(self.parts)


def find_peaks(heatmaps: Floats, threshold: float, most: int, offset: float) -> Peaks:
    """The peaks of every heat map.

    A peak is a pixel above ``threshold`` with no higher neighbour among its eight, off the image's edge. Of
    equal neighbours the first is taken; OpenPose takes none, but then rounding decides whether a blob that
    is symmetrical about a cell has a peak at all.

    Args:
        heatmaps: parts x h x w float32, finite, without the background.
        threshold: at least 0.
        most: peaks of one part that are kept, the highest.
        offset: added to both coordinates, in pixels.
    """
    maps = Maps(heatmaps)
    blocks = _blocks_that_may_hold_a_peak(maps.padded, threshold)
    whole = np.count_nonzero(blocks, axis=(1, 2)) > WHOLE_SHARE * blocks[0].size
    blocks[whole] = False
    found = [_maxima_of_map(heatmaps[part], part, threshold) for part in np.flatnonzero(whole).tolist()]
    found.append(_maxima_of_blocks(maps, blocks, threshold))
    parts, ys, xs, scores = (np.concatenate(column) for column in zip(*found, strict=True))
    kept = _highest(parts, scores, most)
    kept = kept[np.lexsort((xs[kept], ys[kept], parts[kept]))]
    parts, ys, xs = parts[kept], ys[kept], xs[kept]
    dx, dy = _centre_of_mass(maps, parts, ys, xs)
    return Peaks(parts, xs + dx + offset, ys + dy + offset, scores[kept].astype(np.float64))


Found = tuple[Indices, Indices, Indices, Floats]
"""Part, row, column and value of maxima."""


def _blocks_that_may_hold_a_peak(padded: Floats, threshold: float) -> NDArray[np.bool_]:
    """Parts x (h + 1) x (w + 1): blocks of 8 x 8 pixels between the centres of cells, that share 4 x 4 cells.

    A pixel is at most the highest of its cells times the positive gain, plus what the map's lowest value
    can add through the negative weights.
    """
    lowest = np.minimum(padded.min(axis=(1, 2)), 0)
    least = (threshold + NEGATIVE_GAIN * lowest) / POSITIVE_GAIN
    # The rounding of float32 may lift a pixel by a little.
    high = padded[:, 1:-1, 1:-1] > (least - 1e-5)[:, None, None]
    rows = high[:, :-3] | high[:, 1:-2] | high[:, 2:-1] | high[:, 3:]
    blocks: NDArray[np.bool_] = rows[:, :, :-3] | rows[:, :, 1:-2] | rows[:, :, 2:-1] | rows[:, :, 3:]
    return blocks


@functools.cache
def _block_weights() -> Floats:
    """10 x 6: from six cells to the eight pixels between the middle two, with one more at either end."""
    position = pixel_centre_in_cells(np.arange(10) - 5) + 3
    first = np.floor(position).astype(int)
    weights = np.zeros((10, 6), np.float32)
    for pixel, four in enumerate(cubic_weights(position - first)):
        weights[pixel, first[pixel] - 1 : first[pixel] + 3] = four
    return weights


def _maxima_of_blocks(maps: Maps, blocks: NDArray[np.bool_], threshold: float) -> Found:
    parts, rows, columns = np.unravel_index(np.flatnonzero(blocks), blocks.shape)
    pixels = _pixels_of_blocks(maps.padded, parts, rows, columns)
    y, x, block = np.unravel_index(
        np.flatnonzero(_is_maximum(pixels, threshold)), (STRIDE, STRIDE, len(parts))
    )
    ys, xs = rows[block] * STRIDE - STRIDE // 2 + y, columns[block] * STRIDE - STRIDE // 2 + x
    inside = (ys > 0) & (ys < maps.height - 1) & (xs > 0) & (xs < maps.width - 1)
    return parts[block][inside], ys[inside], xs[inside], pixels[y + 1, x + 1, block][inside]


def _pixels_of_blocks(padded: Floats, parts: Indices, rows: Indices, columns: Indices) -> Floats:
    """10 x 10 x n: the pixels of n blocks and those beside them. The blocks come last: that is fastest."""
    _, height, width = padded.shape
    first = (parts * height + rows) * width + columns
    cells = (np.arange(6)[:, None] * width + np.arange(6)).reshape(36)
    values = padded.reshape(-1).take(cells[:, None] + first)
    weights = _block_weights()
    by_row = (weights @ values.reshape(6, -1)).reshape(10, 6, -1)
    pixels: Floats = weights @ by_row
    return pixels


def _maxima_of_map(cells: Floats, part: int, threshold: float) -> Found:
    pixels = up_sample(cells)
    # A quick look at all pixels, which plateaus fail too; then a slow one at the few that are left.
    highest = (pixels >= cv2.dilate(pixels, np.ones((3, 3), np.uint8))) & (pixels > threshold)
    inner = highest[1:-1, 1:-1]
    inner &= (pixels[1:-1, 1:-1] > pixels[:-2, 1:-1]) & (pixels[1:-1, 1:-1] > pixels[1:-1, :-2])
    ys, xs = np.unravel_index(np.flatnonzero(inner), inner.shape)
    around = pixels[ys + np.arange(3)[:, None, None], xs + np.arange(3)[:, None]]
    true = _is_maximum(around, threshold)[0, 0]
    ys, xs = ys[true] + 1, xs[true] + 1
    return np.full(len(ys), part), ys, xs, pixels[ys, xs]


def _is_maximum(pixels: Floats, threshold: float) -> NDArray[np.bool_]:
    """(h - 2) x (w - 2) x n, for h x w x n pixels: whether a pixel off the edge is above all neighbours."""
    height, width, _ = pixels.shape
    centre = pixels[1:-1, 1:-1]
    highest = centre > threshold
    for dy, dx in np.ndindex(3, 3):
        neighbour = pixels[dy : height - 2 + dy, dx : width - 2 + dx]
        if (dy, dx) < (1, 1):
            highest &= centre > neighbour
        elif (dy, dx) > (1, 1):
            highest &= centre >= neighbour
    return highest


def _highest(parts: Indices, scores: Floats, most: int) -> Indices:
    """Which maxima are among the ``most`` highest of their part."""
    order = np.lexsort((-scores, parts))
    sorted_parts = parts[order]
    rank = np.arange(len(parts)) - np.searchsorted(sorted_parts, sorted_parts)
    return order[rank < most]


def _centre_of_mass(maps: Maps, parts: Indices, ys: Indices, xs: Indices) -> tuple[Doubles, Doubles]:
    """Columns and rows from each maximum to the mean place of the positive pixels around it."""
    dy, dx = (np.indices((2 * WINDOW + 1, 2 * WINDOW + 1)) - WINDOW).reshape(2, -1, 1)
    near_y, near_x = ys + dy, xs + dx
    values = maps.sample(np.broadcast_to(parts, near_y.shape).ravel(), near_y.ravel(), near_x.ravel())
    weights = np.maximum(values, 0).reshape(near_y.shape).astype(np.float64)
    weights[(near_y < 0) | (near_y >= maps.height) | (near_x < 0) | (near_x >= maps.width)] = 0
    total = weights.sum(axis=0)
    return (weights * dx).sum(axis=0) / total, (weights * dy).sum(axis=0) / total
