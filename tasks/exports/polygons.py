"""Masks as polygons: closed rings in pixels, holes joined to their ring, pieces joined on demand.

Coordinates are continuous as in COCO: pixel (column, row) covers [column, column + 1] x [row, row + 1].
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from workers.contracts import Mask

Ring = NDArray[np.float64]
"""N x 2 (x, y) in pixels; the last point is joined to the first."""

SCALE = 4
"""The mask is traced at 4 times its size: the ring then runs an eighth of a pixel inside the mask's edge,
while a tracing at its own size runs through the pixels' middles and loses half a pixel all around."""
INSIDE = 0.25
"""Where in its pixel a vertex of a label stands. Ultralytics draws a row by cutting off what stands behind
the point (``polygon2mask``), supervision by rounding: both then come to the pixel itself, whose border they
fill, whatever the six digits of a label lose."""
TOLERANCE = 0.5
"""Of the simplified ring from the traced one, in pixels (Ramer-Douglas-Peucker)."""


def rings(mask: Mask) -> list[Ring]:
    """One ring for each piece of a mask, the largest first, every hole cut in through a bridge of no width.

    They run along the pixels' outer edges, as COCO's polygons do and pycocotools draws them.

    Args:
        mask: H x W bool.
    """
    return [(ring + 0.5) / SCALE for ring in _traced(mask, SCALE)]


def pixel_rings(mask: Mask) -> list[Ring]:
    """The same through the outermost pixels themselves, for those who fill polygons with their border.

    Args:
        mask: H x W bool.
    """
    return [ring + INSIDE for ring in _traced(mask, 1)]


def _traced(mask: Mask, scale: int) -> list[Ring]:
    """Rings in pixels of the mask at ``scale`` times its size."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.uint8)
    large = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    contours, hierarchy = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    found = [
        _with_holes(contours, hierarchy[0], index, scale)
        for index, (_, _, _, parent) in enumerate(hierarchy[0])
        if parent < 0
    ]
    found.sort(key=lambda ring: (-_area(ring), ring[0].tolist()))
    corner = np.array([left, top]) * scale
    return [ring + corner for ring in found]


def joined(pieces: list[Ring]) -> Ring:
    """One ring through all pieces, joined where they are nearest by bridges of no width.

    That is how Ultralytics' own COCO converter keeps a person in several pieces one instance: a row of a
    label file is one ring.

    Args:
        pieces: at least one.
    """
    ring = pieces[0]
    for piece in pieces[1:]:
        ring = _bridged(ring, piece)
    return ring


def fidelity(mask: Mask, polygons: list[Ring]) -> float:
    """IoU of a mask and its polygons, drawn as pycocotools draws them."""
    if not polygons:
        return 1.0 if not mask.any() else 0.0
    height, width = mask.shape
    drawn: Any = coco_mask.merge(
        coco_mask.frPyObjects([ring.ravel().tolist() for ring in polygons], height, width)
    )
    truth = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return float(coco_mask.iou([drawn], [truth], [0])[0][0])


def filled_fidelity(mask: Mask, ring: Ring | None) -> float:
    """IoU of a mask and one ring of pixels filled with its border, as Ultralytics draws a row."""
    drawn = np.zeros(mask.shape, np.uint8)
    if ring is not None:
        cv2.fillPoly(drawn, [ring.astype(np.int32)], (1,))
    both, either = np.count_nonzero(mask & (drawn > 0)), np.count_nonzero(mask | (drawn > 0))
    return both / either if either else 1.0


def _with_holes(contours: Any, hierarchy: Any, index: int, scale: int) -> Ring:
    ring = _simple(contours[index], scale)
    hole = hierarchy[index][2]
    while hole >= 0:
        ring = _bridged(ring, _simple(contours[hole], scale))
        hole = hierarchy[hole][0]
    return ring


def _simple(contour: Any, scale: int) -> Ring:
    simple = cv2.approxPolyDP(contour, TOLERANCE * scale, closed=True)
    if len(simple) < 3:  # a hair that would vanish keeps its points
        simple = cv2.approxPolyDP(contour, 0, closed=True)
    ring = simple.reshape(-1, 2).astype(np.float64)
    return ring if len(ring) >= 3 else np.resize(ring, (3, 2))


def _bridged(ring: Ring, other: Ring) -> Ring:
    """``ring``, left at the point nearest to ``other``, around ``other``, and back over the same bridge."""
    apart = ((ring[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)
    here, there = np.unravel_index(int(apart.argmin()), apart.shape)
    around = np.roll(other, -int(there), axis=0)
    return np.concatenate([ring[: here + 1], around, around[:1], ring[here:]])


def _area(ring: Ring) -> float:
    return abs(float(cv2.contourArea(ring.astype(np.float32))))
