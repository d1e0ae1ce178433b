"""From an image to the verified people in it; shared by the pose model and the teacher."""

from collections.abc import Iterable, Sequence

import cv2

from broker.recipe import ModelSpec
from workers.contracts import Image, Mask
from workers.errors import ModelMismatch
from workers.models import Weights
from workers.pose.blazepose_detector import Detector
from workers.pose.blazepose_landmarks import Landmarker, Landmarks
from workers.pose.geometry import overlap

CANVAS = 160
"""Longer side, in pixels, of the shrunk frame on which masks of different squares are compared."""


def canvas_of(image: Image) -> tuple[int, int, float]:
    """Height, width and zoom of the shrunk frame for comparisons."""
    height, width = image.shape[:2]
    zoom = min(1.0, CANVAS / max(height, width))
    return max(1, round(height * zoom)), max(1, round(width * zoom)), zoom


def same_person(a: Mask, b: Mask, limit: float) -> bool:
    """Whether one mask lies in the other by ``limit`` or more of its area."""
    return max(overlap(a, b), overlap(b, a)) >= limit


def distinct(people: Iterable[Landmarks], masks: Sequence[Mask], limit: float) -> list[Landmarks]:
    """``people`` without those whose mask (of ``masks``, in the same order) repeats an earlier one."""
    kept: list[Landmarks] = []
    seen: list[Mask] = []
    for person, mask in zip(people, masks, strict=True):
        if not any(same_person(mask, other, limit) for other in seen):
            kept.append(person)
            seen.append(mask)
    return kept


class PeopleFinder:
    """The detector and the landmark network together. Not thread-safe.

    Args:
        spec: its first weights are the detector's, its second the landmark network's.
        weights: the weights store.
        threads: of the networks and of OpenCV (set for the whole process).

    Raises:
        ModelMismatch: other than two weights, or other networks.
    """

    def __init__(self, spec: ModelSpec, weights: Weights, threads: int) -> None:
        if len(spec.weights) != 2:
            raise ModelMismatch(
                f"The model {spec.name} is described with {len(spec.weights)} weights files.",
                "Give two: the BlazePose detector, then the landmark network.",
            )
        cv2.setNumThreads(threads)
        self.detector = Detector(weights.path(spec.weights[0]), threads)
        self.landmarker = Landmarker(weights.path(spec.weights[1]), threads)

    def find(
        self, image: Image, min_detection: float, nms_iou: float, min_score: float, merge: float
    ) -> list[Landmarks]:
        """The people of ``image``, best score first, each once.

        Args:
            image: H x W x 3 uint8 RGB.
            min_detection: least probability of a detection.
            nms_iou: detections that overlap by more are one.
            min_score: least pose presence: removes what only looks like a person from afar.
            merge: two detections are one person when one mask lies in the other by this share.
        """
        rois = [d.roi for d in self.detector.find(image, min_detection, nms_iou)]
        looks = [self.landmarker.look(image, roi) for roi in rois if roi.is_usable()]
        people = sorted((p for p in looks if p.score >= min_score), key=lambda p: -p.score)
        canvas = canvas_of(image)
        return distinct(people, [p.frame_mask(*canvas) for p in people], merge)
