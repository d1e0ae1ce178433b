"""The landmark network of BlazePose: 39 landmarks, pose presence and a mask, of one person's square."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workers.contracts import Image, Mask
from workers.litert import LiteRT
from workers.pose.geometry import Floats, Roi
from workers.tensors import sigmoid

INPUT = 256
"""Side of the square input in pixels."""
COUNT = 39
"""33 body landmarks, 33 and 34 the circle around the body, 35 to 38 unused (MediaPipe Pose documentation)."""
KERNEL = 9
"""Side of the window of the heatmap refinement; found by agreement with the official solution."""
MIN_HEAT = 0.5
"""Least peak of a heatmap that may move a landmark (MediaPipe Pose, ``RefineLandmarksFromHeatmap``)."""

AGREEMENT_WIDTH = 0.08
"""k of ``pose_agreement``. Between two looks at a clear body landmarks move 0.003 to 0.02 of the side
(agreement above 0.95), on a figure whose limbs are guessed 0.06 to 0.1 (below 0.8)."""


@dataclass(frozen=True)
class Landmarks:
    """What the network says about one square.

    Attributes:
        roi: the square.
        xy: 39 x 2 float32, pixels of the frame; regressed even outside it.
        visibility: 39 float32, probability that the landmark is in sight.
        presence: 39 float32, probability that the landmark is inside the square.
        score: probability that the square shows a person.
        mask: 256 x 256 float32, probability of person, in the square's own axes.
    """

    roi: Roi
    xy: Floats
    visibility: Floats
    presence: Floats
    score: float
    mask: Floats

    @property
    def next_roi(self) -> Roi:
        """The square of a second pass, from the auxiliary landmarks."""
        return Roi.from_circle(self.xy[33], self.xy[34])

    def frame_probability(self, height: int, width: int, zoom: float = 1.0) -> Floats:
        """H x W float32: probability of person on the frame (shrunk by ``zoom``)."""
        return self.roi.paste(self.mask, width, height, zoom)

    def frame_mask(self, height: int, width: int, zoom: float = 1.0) -> Mask:
        """H x W bool: where ``frame_probability`` is above one half."""
        return self.frame_probability(height, width, zoom) > 0.5


def pose_agreement(a: Landmarks, b: Landmarks) -> float:
    """How alike two poses are, in (0, 1]: the object keypoint similarity of their 33 body landmarks.

    OKS = mean of exp(-d^2 / (2 s^2 k^2)) (COCO keypoint evaluation), with s the side of the square of
    ``a`` and one k for all landmarks.
    """
    distance = np.linalg.norm(a.xy[:33] - b.xy[:33], axis=1) / a.roi.side
    return float(np.exp(-(distance**2) / (2 * AGREEMENT_WIDTH**2)).mean())


def refine(xy: Floats, heatmaps: Floats) -> Floats:
    """Moves landmarks to the centre of mass of their heatmap's neighbourhood.

    Args:
        xy: N x 2, in units of the square.
        heatmaps: H x W x N logits.

    Returns:
        N x 2 float32; a landmark outside the square or without a clear peak stays where it is.
    """
    height, width, _ = heatmaps.shape
    reach = (KERNEL - 1) // 2
    refined = xy.copy()
    cells = np.trunc(xy * (width, height)).astype(int)
    for i, (column, row) in enumerate(cells):
        if not (0 <= column < width and 0 <= row < height):
            continue
        x0, y0 = max(0, column - reach), max(0, row - reach)
        heat = sigmoid(heatmaps[y0 : row + reach + 1, x0 : column + reach + 1, i])
        if heat.max() >= MIN_HEAT:
            ys, xs = np.mgrid[y0 : y0 + heat.shape[0], x0 : x0 + heat.shape[1]]
            refined[i] = (heat * xs).sum() / heat.sum() / width, (heat * ys).sum() / heat.sum() / height
    return refined


class Landmarker:
    """``pose_landmark_full.tflite`` (input 1x256x256x3 in [0, 1]). Not thread-safe.

    Raises:
        ModelMismatch: ``path`` is another network.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        network = LiteRT(path, threads)
        self._network = network
        self._points = network.output(1, COUNT * 5)
        self._score = network.output(1, 1)
        self._mask = network.output(1, INPUT, INPUT, 1)
        self._heatmaps = network.output(1, 64, 64, COUNT)

    def look(self, image: Image, roi: Roi) -> Landmarks:
        """Landmarks and mask of the person in ``roi`` of ``image`` (H x W x 3 uint8 RGB)."""
        crop = roi.crop(image, INPUT).astype(np.float32) / np.float32(255)
        wanted = (self._points, self._score, self._mask, self._heatmaps)
        points, score, mask, heatmaps = self._network.run(crop[None], *wanted)
        rows: Floats = points.reshape(COUNT, 5)
        return Landmarks(
            roi=roi,
            xy=roi.to_frame(refine(rows[:, :2] / np.float32(INPUT), heatmaps[0])),
            visibility=sigmoid(rows[:, 3]),
            presence=sigmoid(rows[:, 4]),
            score=float(score[0, 0]),
            mask=sigmoid(mask[0, :, :, 0]),
        )

    def mirrored_mask(self, image: Image, roi: Roi) -> Floats:
        """256 x 256 float32: the mask of the mirrored square, mirrored back; a cheap second opinion."""
        crop = np.ascontiguousarray(roi.crop(image, INPUT)[:, ::-1]).astype(np.float32) / np.float32(255)
        (mask,) = self._network.run(crop[None], self._mask)
        return np.ascontiguousarray(sigmoid(mask[0, :, ::-1, 0]))
