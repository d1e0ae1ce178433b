"""The person detector of BlazePose: anchors, decoding and weighted non-maximum suppression."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workers.contracts import Image
from workers.litert import LiteRT
from workers.pose.geometry import Floats, Roi, letterbox
from workers.tensors import sigmoid

INPUT = 224
"""Side of the square input in pixels."""
STRIDES = ((8, 2), (16, 2), (32, 6))
"""(stride, anchors per cell) of the detector's grids: 2,254 anchors (MediaPipe Pose documentation)."""


@dataclass(frozen=True)
class Detection:
    """One detected person, in pixels of the image.

    Attributes:
        box: x0, y0, x1, y1 (of the face and shoulders, not of the body), float32.
        keypoints: 4 x 2 float32: mid-hip, rim of the circle around the body, mid-shoulder, rim of the
            circle around the upper body.
        score: probability.
    """

    box: Floats
    keypoints: Floats
    score: float

    @property
    def roi(self) -> Roi:
        """The square around the whole body."""
        return Roi.from_circle(self.keypoints[0], self.keypoints[1])


def anchors() -> Floats:
    """2254 x 2 float32: the centres x, y of the anchors, in units of the input's side."""
    grids = []
    for stride, count in STRIDES:
        cells = INPUT // stride
        y, x = np.mgrid[0:cells, 0:cells]
        centres = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) / cells
        grids.append(np.repeat(centres, count, axis=0))
    return np.concatenate(grids).astype(np.float32)


def box_ious(box: Floats, boxes: Floats) -> Floats:
    """IoU of one box (4) with N x 4 boxes (x0, y0, x1, y1); N float32."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + areas - inter
    ious: Floats = (inter / np.maximum(union, 1e-9)).astype(np.float32)
    return ious


def weighted_nms(boxes: Floats, keypoints: Floats, scores: Floats, min_iou: float) -> list[Detection]:
    """Joins overlapping detections: averages weighted by score; the best score stays.

    The ``WEIGHTED`` overlap type of MediaPipe's ``NonMaxSuppressionCalculator``.

    Args:
        boxes: N x 4, x0, y0, x1, y1.
        keypoints: N x K x 2.
        scores: N.
        min_iou: boxes that overlap the best one by more are joined with it.

    Returns:
        Detections, best score first.
    """
    left = np.argsort(-scores, kind="stable")
    found = []
    while left.size:
        best = left[0]
        near = box_ious(boxes[best], boxes[left]) > min_iou
        near[0] = True  # a box without area overlaps nothing, not even itself
        group = left[near]
        weights = scores[group] / scores[group].sum()
        found.append(
            Detection(
                box=np.einsum("n,nb->b", weights, boxes[group]).astype(np.float32),
                keypoints=np.einsum("n,nkc->kc", weights, keypoints[group]).astype(np.float32),
                score=float(scores[best]),
            )
        )
        left = left[~near]
    return found


def decode(raw: Floats, logits: Floats, centres: Floats, min_score: float, min_iou: float) -> list[Detection]:
    """The network's answer as detections, in units of the input's side.

    Args:
        raw: N x 12: x, y, w, h and 4 keypoints, in input pixels relative to the anchors.
        logits: N scores before the sigmoid.
        centres: N x 2, see ``anchors``.
        min_score: least probability.
        min_iou: see ``weighted_nms``.
    """
    scores = sigmoid(logits)
    keep = (scores >= min_score) & (raw[:, 2:4] >= 0).all(axis=1)
    values, centres, scores = raw[keep] / INPUT, centres[keep], scores[keep]
    middle, half = values[:, :2] + centres, values[:, 2:4] / 2
    keypoints = values[:, 4:].reshape(-1, 4, 2) + centres[:, None]
    boxes: Floats = np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)
    return weighted_nms(boxes, keypoints.astype(np.float32), scores, min_iou)


class Detector:
    """``pose_detection.tflite`` (input 1x224x224x3 in [-1, 1]). Not thread-safe.

    Raises:
        ModelMismatch: ``path`` is another network.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._network = LiteRT(path, threads)
        self._centres = anchors()
        self._boxes = self._network.output(1, len(self._centres), 12)
        self._scores = self._network.output(1, len(self._centres), 1)

    def find(self, image: Image, min_score: float = 0.5, min_iou: float = 0.3) -> list[Detection]:
        """People in ``image`` (H x W x 3 uint8 RGB), best score first, in its pixels."""
        square, side, x, y = letterbox(image, INPUT)
        boxes, scores = self._network.run((square * (2 / 255) - 1)[None], self._boxes, self._scores)
        found = decode(boxes[0], scores[0, :, 0], self._centres, min_score, min_iou)
        corner = np.array([x, y], np.float32)
        return [
            Detection(d.box * side + np.tile(corner, 2), d.keypoints * side + corner, d.score) for d in found
        ]
