"""The second look for further people: the detector on tiles, candidates verified by the landmark network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from workers.contracts import Image, Instance, Mask
from workers.pose.blazepose_landmarks import Landmarks, pose_agreement
from workers.pose.geometry import Floats, overlap
from workers.pose.people import PeopleFinder, canvas_of, same_person

TORSO = (11, 12, 23, 24)
"""Shoulders and hips among the BlazePose landmarks."""


@dataclass(frozen=True)
class VetoOptions:
    """When a candidate counts as another person.

    Bystanders are half hidden: their detection is sure and their pose is not, or the other way round,
    so the two probabilities are judged by their product. Measured on eight clips of an athlete and
    four DAVIS sequences, on frames whose main body is whole: 234 of 237 with a bystander, a second
    athlete or a crowd were refused, and 1 of 248 with nobody else. The thresholds were chosen on them.

    Attributes:
        veto_detection: least probability of a detection in a tile.
        veto_presence: least pose presence.
        veto_evidence: least product of the two.
        veto_overlap: largest share of its mask inside the main mask.
        veto_apart: share of its mask inside the main mask from which its torso must be outside as well.
        veto_area: least area outside the main mask, over the area of the main mask.
        veto_twin_evidence: least product from which a candidate with another pose counts wherever it
            is: one mask may cover two people who stand close.
        veto_twin_agreement: pose agreement with the main person below which it is another pose.
        veto_dilation: growth of the main mask, as a share of the frame's longer side, inside which a
            torso belongs to the main person.
        tile_overlap: overlap of neighbouring tiles.
    """

    veto_detection: float = 0.2
    veto_presence: float = 0.3
    veto_evidence: float = 0.25
    veto_overlap: float = 0.5
    veto_apart: float = 0.3
    veto_twin_evidence: float = 0.85
    veto_twin_agreement: float = 0.5
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


def other_people(
    finder: PeopleFinder, image: Image, pose: Landmarks, main: Mask, options: VetoOptions
) -> list[Instance]:
    """Verified people other than the main person, each once, highest presence first.

    Args:
        finder: loaded networks.
        image: H x W x 3 uint8 RGB.
        pose: the main person's.
        main: H x W bool, the main person's final mask.
        options: the thresholds.
    """
    height, width, zoom = canvas_of(image)
    small = cv2.resize(main.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0.5
    found: list[Instance] = []
    known: list[Mask] = []
    for detection, look in sorted(_candidates(finder, image, options), key=lambda c: -c[1].score):
        mask = look.frame_mask(height, width, zoom)
        measures = {
            "detection": detection,
            "presence": look.score,
            "agreement": pose_agreement(pose, look),
            **compare_masks(mask, small),
        }
        torso = look.xy[list(TORSO)].mean(axis=0) * zoom
        is_new = not any(same_person(mask, other, options.veto_overlap) for other in known)
        if is_new and is_other_person(measures, torso, small, options):
            known.append(mask)
            full = look.frame_mask(image.shape[0], image.shape[1])
            found.append(Instance(full, min(1.0, look.score), side=look.roi.side, measures=measures))
    return found


def _candidates(
    finder: PeopleFinder, image: Image, options: VetoOptions
) -> Iterator[tuple[float, Landmarks]]:
    for x0, y0, x1, y1 in tiles(image.shape[0], image.shape[1], options.tile_overlap):
        for detection in finder.detector.find(image[y0:y1, x0:x1], options.veto_detection):
            roi = detection.roi.moved(x0, y0)
            if roi.is_usable():
                yield detection.score, finder.landmarker.look(image, roi)


def compare_masks(mask: Mask, main: Mask) -> dict[str, float]:
    """``overlap``: share of ``mask`` in ``main``; ``area_share``: its area outside over the main area."""
    outside = int(np.count_nonzero(mask & ~main))
    return {"overlap": overlap(mask, main), "area_share": outside / max(1, int(np.count_nonzero(main)))}


def is_other_person(measures: Mapping[str, float], torso: Floats, main: Mask, options: VetoOptions) -> bool:
    """Whether a candidate is a person in the frame, and another one than the main person.

    Args:
        measures: detection, presence, agreement, overlap and area_share of the candidate.
        torso: x, y of the middle of its torso, in pixels of ``main``.
        main: H x W bool, the main person.
        options: the thresholds.
    """
    column, row = int(np.floor(torso[0])), int(np.floor(torso[1]))
    if not (0 <= row < main.shape[0] and 0 <= column < main.shape[1]):
        # A tile's edge makes the detector dream up large people whose body would lie outside the frame.
        return False
    evidence = measures["detection"] * measures["presence"]
    if measures["presence"] < options.veto_presence or measures["area_share"] <= options.veto_area:
        return False
    if evidence >= options.veto_twin_evidence and measures["agreement"] < options.veto_twin_agreement:
        return True
    if evidence < options.veto_evidence or measures["overlap"] >= options.veto_overlap:
        return False
    return measures["overlap"] < options.veto_apart or not _grown(main, options.veto_dilation)[row, column]


def _grown(mask: Mask, dilation: float) -> Mask:
    reach = round(dilation * max(mask.shape))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0
