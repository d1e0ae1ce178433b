"""The second look for further people: the detector on tiles, candidates verified by the landmark network."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from workers.contracts import Image, Instance, Mask
from workers.pose.blazepose_landmarks import Landmarks
from workers.pose.geometry import overlap
from workers.pose.people import PeopleFinder, canvas_of, same_person

TORSO = (11, 12, 23, 24)
"""Shoulders and hips among the BlazePose landmarks."""


@dataclass(frozen=True)
class VetoOptions:
    """When a candidate counts as another person.

    Attributes:
        veto_detection: least probability of a detection in a tile.
        veto_presence: least pose presence.
        veto_overlap: largest share of its mask inside the main mask.
        veto_area: least area outside the main mask, over the area of the main mask.
        veto_dilation: growth of the main mask, as a share of the frame's longer side, inside which a
            torso belongs to the main person.
        tile_overlap: overlap of neighbouring tiles.
    """

    veto_detection: float = 0.3
    veto_presence: float = 0.8
    veto_overlap: float = 0.5
    veto_area: float = 0.05
    veto_dilation: float = 0.02
    tile_overlap: float = 0.2


def tiles(height: int, width: int, shared: float) -> Iterator[tuple[int, int, int, int]]:
    """x0, y0, x1, y1 of the frame, then of its tiles: 3 x 2, portrait 2 x 3, nearly square 2 x 2.

    The recall of the detector on people below half the frame's height is 0.2 to 0.3; a tile enlarges them.

    Args:
        height: of the frame, pixels.
        width: of the frame, pixels.
        shared: overlap of neighbours as a share of a tile's side, in [0, 1).
    """
    yield 0, 0, width, height
    ratio = width / height
    columns, rows = (3, 2) if ratio > 1.2 else (2, 3) if ratio < 1 / 1.2 else (2, 2)
    for y0, y1 in spans(height, rows, shared):
        for x0, x1 in spans(width, columns, shared):
            yield x0, y0, x1, y1


def spans(length: int, count: int, shared: float) -> list[tuple[int, int]]:
    """``count`` equal spans that cover 0..length; neighbours share ``shared`` of their own length."""
    span = length / (count - (count - 1) * shared)
    step = span * (1 - shared)
    starts = [round(i * step) for i in range(count)]
    return [(start, min(length, start + int(np.ceil(span)))) for start in starts[:-1]] + [
        (starts[-1], length)
    ]


def other_people(finder: PeopleFinder, image: Image, main: Mask, options: VetoOptions) -> list[Instance]:
    """Verified people other than the one under ``main``, each once, highest presence first.

    Args:
        finder: loaded networks.
        image: H x W x 3 uint8 RGB.
        main: H x W bool, the main person.
        options: the thresholds.
    """
    height, width, zoom = canvas_of(image)
    small = cv2.resize(main.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0.5
    found: list[Instance] = []
    for look in sorted(_candidates(finder, image, options), key=lambda c: -c.score):
        mask = look.frame_mask(height, width, zoom)
        measures = _measure(look, mask, small)
        known = any(same_person(mask, _shrink(other.mask, mask), options.veto_overlap) for other in found)
        if not known and _is_other(look, measures, small, zoom, options):
            full = look.frame_mask(image.shape[0], image.shape[1])
            found.append(Instance(full, min(1.0, look.score), side=look.roi.side, measures=measures))
    return found


def _candidates(finder: PeopleFinder, image: Image, options: VetoOptions) -> Iterator[Landmarks]:
    for x0, y0, x1, y1 in tiles(image.shape[0], image.shape[1], options.tile_overlap):
        tile = image[y0:y1, x0:x1]
        for detection in finder.detector.find(tile, options.veto_detection):
            roi = detection.roi.moved(x0, y0)
            if roi.is_usable():
                yield finder.landmarker.look(image, roi)


def _measure(look: Landmarks, mask: Mask, main: Mask) -> dict[str, float]:
    outside = int(np.count_nonzero(mask & ~main))
    return {
        "presence": look.score,
        "overlap": overlap(mask, main),
        "area_share": outside / max(1, int(np.count_nonzero(main))),
    }


def _is_other(
    look: Landmarks, measures: dict[str, float], main: Mask, zoom: float, options: VetoOptions
) -> bool:
    return (
        measures["presence"] >= options.veto_presence
        and measures["overlap"] < options.veto_overlap
        and measures["area_share"] > options.veto_area
        and not _torso_inside(look, main, zoom, options.veto_dilation)
    )


def _torso_inside(look: Landmarks, main: Mask, zoom: float, dilation: float) -> bool:
    reach = round(dilation * max(main.shape))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    grown = cv2.dilate(main.astype(np.uint8), kernel) > 0
    x, y = look.xy[list(TORSO)].mean(axis=0) * zoom
    row, column = int(np.floor(y)), int(np.floor(x))
    inside_frame = 0 <= row < main.shape[0] and 0 <= column < main.shape[1]
    return inside_frame and bool(grown[row, column])


def _shrink(mask: Mask, like: Mask) -> Mask:
    height, width = like.shape
    return cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0.5
