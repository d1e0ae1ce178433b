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
    found = _highest(_maxima(heatmaps, threshold), most)
    parts, ys, xs, scores = found
    dx, dy = _centre_of_mass(Maps(heatmaps), parts, ys, xs)
    return Peaks(parts, xs + dx + offset, ys + dy + offset, scores.astype(np.float64))


Found = tuple[Indices, Indices, Indices, Floats]
"""Part, row, column and value of maxima, in the order of ``Peaks``."""


def _maxima(heatmaps: Floats, threshold: float) -> Found:
    blocks = _blocks_that_may_hold_a_peak(heatmaps, threshold)
    counts = np.count_nonzero(blocks, axis=(1, 2))
    whole = counts > WHOLE_SHARE * blocks[0].size
    blocks[whole] = False
    found = [_maxima_of_map(heatmaps[part], part, threshold) for part in np.flatnonzero(whole).tolist()]
    found.append(_maxima_of_blocks(heatmaps, blocks, threshold))
    parts, ys, xs, scores = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((xs, ys, parts))
    return parts[order], ys[order], xs[order], scores[order]


def _blocks_that_may_hold_a_peak(heatmaps: Floats, threshold: float) -> NDArray[np.bool_]:
    """Parts x (h + 1) x (w + 1): blocks of 8 x 8 pixels between the centres of cells, that share 4 x 4 cells.

    A pixel is at most the highest of its cells times the positive gain, plus what the map's lowest value
    can add through the negative weights.
    """
    lowest = np.minimum(heatmaps.min(axis=(1, 2)), 0)
    least = (threshold + NEGATIVE_GAIN * lowest) / POSITIVE_GAIN
    # The rounding of float32 may lift a pixel by a little.
    high = heatmaps > (least - 1e-5)[:, None, None]
    high = np.pad(high, ((0, 0), (2, 2), (2, 2)), mode="edge")
    rows = high[:, :-3] | high[:, 1:-2] | high[:, 2:-1] | high[:, 3:]
    blocks: NDArray[np.bool_] = rows[:, :, :-3] | rows[:, :, 1:-2] | rows[:, :, 2:-1] | rows[:, :, 3:]
    return blocks


@functools.cache
def _block_weights() -> Floats:
    """6 x 10: from six cells to the eight pixels between the middle two, with one more at either end."""
    position = pixel_centre_in_cells(np.arange(10) - 5) + 3
    first = np.floor(position).astype(int)
    weights = np.zeros((6, 10), np.float32)
    for pixel, four in enumerate(cubic_weights(position - first)):
        weights[first[pixel] - 1 : first[pixel] + 3, pixel] = four
    return weights


def _maxima_of_blocks(heatmaps: Floats, blocks: NDArray[np.bool_], threshold: float) -> Found:
    parts, rows, columns = np.nonzero(blocks)
    padded = np.pad(heatmaps, ((0, 0), (3, 3), (3, 3)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (6, 6), axis=(1, 2)).swapaxes(3, 4)
    weights = _block_weights()
    by_column = windows[parts, rows, columns].reshape(-1, 6) @ weights
    by_row = np.ascontiguousarray(by_column.reshape(-1, 6, 10).swapaxes(1, 2)).reshape(-1, 6) @ weights
    pixels = by_row.reshape(-1, 10, 10)
    block, y, x = np.nonzero(_is_maximum(pixels, threshold))
    ys, xs = rows[block] * STRIDE - STRIDE // 2 + y, columns[block] * STRIDE - STRIDE // 2 + x
    _, height, width = heatmaps.shape
    inside = (ys > 0) & (ys < height * STRIDE - 1) & (xs > 0) & (xs < width * STRIDE - 1)
    return parts[block][inside], ys[inside], xs[inside], pixels[block, y + 1, x + 1][inside]


def _maxima_of_map(cells: Floats, part: int, threshold: float) -> Found:
    pixels = up_sample(cells)
    ys, xs = np.nonzero(_is_maximum(pixels[None], threshold)[0])
    return np.full(len(ys), part), ys + 1, xs + 1, pixels[ys + 1, xs + 1]


def _is_maximum(pixels: Floats, threshold: float) -> NDArray[np.bool_]:
    """N x (h - 2) x (w - 2), for N x h x w pixels: whether a pixel off the edge is above all neighbours."""
    n, height, width = pixels.shape
    if not n:
        return np.zeros((0, height - 2, width - 2), np.bool_)
    stacked = pixels.reshape(n * height, width)
    # Pixels of the next image count as neighbours only on the edge, which is cut off.
    before = cv2.dilate(stacked, np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]], np.uint8))
    after = cv2.dilate(stacked, np.array([[0, 0, 0], [0, 0, 1], [1, 1, 1]], np.uint8))
    highest = (stacked > threshold) & (stacked > before) & (stacked >= after)
    return highest.reshape(n, height, width)[:, 1:-1, 1:-1]


def _highest(found: Found, most: int) -> Found:
    parts, _, _, scores = found
    order = np.lexsort((-scores, parts))
    sorted_parts = parts[order]
    rank = np.arange(len(parts)) - np.searchsorted(sorted_parts, sorted_parts)
    kept = np.sort(order[rank < most])
    return parts[kept], found[1][kept], found[2][kept], scores[kept]


def _centre_of_mass(maps: Maps, parts: Indices, ys: Indices, xs: Indices) -> tuple[Doubles, Doubles]:
    """Columns and rows from each maximum to the mean place of the positive pixels around it."""
    reach = np.arange(-WINDOW, WINDOW + 1)
    near_y = np.broadcast_to((ys[:, None] + reach)[:, :, None], (len(ys), 7, 7))
    near_x = np.broadcast_to((xs[:, None] + reach)[:, None, :], (len(xs), 7, 7))
    channels = np.broadcast_to(parts[:, None, None], near_y.shape)
    values = maps.sample(channels.ravel(), near_y.ravel(), near_x.ravel())
    weights = values.reshape(near_y.shape).astype(np.float64)
    outside = (near_y < 0) | (near_y >= maps.height) | (near_x < 0) | (near_x >= maps.width)
    weights[(weights < 0) | outside] = 0
    total = weights.sum(axis=(1, 2))
    return np.einsum("nij,j->n", weights, reach) / total, np.einsum("nij,i->n", weights, reach) / total
