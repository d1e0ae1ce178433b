"""Regions of interest, crops and mask overlaps that the BlazePose networks share. Pure: no weights."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.contracts import Image, Mask

Floats = NDArray[np.float32]

ROI_SCALE = 1.25
"""Enlargement of the circle around a body (MediaPipe Pose documentation, ``pose_detection_to_roi``)."""

BOX_MARGIN = 0.05
"""Landmarks lie inside the body: the box is their hull, enlarged by this share of its longer side."""


@dataclass(frozen=True)
class Roi:
    """A rotated square: centre and side in pixels, rotation in radians (clockwise on the screen)."""

    x: float
    y: float
    side: float
    rotation: float

    @classmethod
    def from_circle(cls, centre: Floats, rim: Floats, scale: float = ROI_SCALE) -> "Roi":
        """The square around a body.

        The circle's centre is the mid-hip, and the point on its rim is where the head points, so the
        body stands upright in the crop (MediaPipe Pose, ``AlignmentPointsRectsCalculator``).

        Args:
            centre: x, y in pixels.
            rim: x, y in pixels.
            scale: enlargement of the circumscribed square.
        """
        dx, dy = float(rim[0] - centre[0]), float(rim[1] - centre[1])
        rotation = math.pi / 2 - math.atan2(-dy, dx)
        wrapped = rotation - 2 * math.pi * math.floor((rotation + math.pi) / (2 * math.pi))
        return cls(float(centre[0]), float(centre[1]), 2 * math.hypot(dx, dy) * scale, wrapped)

    def is_usable(self) -> bool:
        """Whether the square is finite and at least 2 pixels wide."""
        return all(map(math.isfinite, (self.x, self.y, self.side))) and self.side >= 2.0

    def moved(self, dx: float, dy: float) -> "Roi":
        """The same square, shifted by pixels."""
        return Roi(self.x + dx, self.y + dy, self.side, self.rotation)

    def to_frame(self, points: Floats) -> Floats:
        """N x 2 points in units of the square (0..1, rows down) as N x 2 pixels of the frame."""
        c, s = math.cos(self.rotation), math.sin(self.rotation)
        turn = np.array([[c, s], [-s, c]], np.float64)
        placed = (points.astype(np.float64) - 0.5) * self.side @ turn + (self.x, self.y)
        return placed.astype(np.float32)

    def matrix(self, size: int, zoom: float = 1.0) -> NDArray[np.float64]:
        """2 x 3 affine from pixels of the frame (shrunk by ``zoom``) to a ``size`` x ``size`` crop."""
        c, s, k = math.cos(self.rotation), math.sin(self.rotation), size / self.side
        shift_x = size / 2 - k * (c * self.x + s * self.y)
        shift_y = size / 2 - k * (-s * self.x + c * self.y)
        return np.array([[k * c / zoom, k * s / zoom, shift_x], [-k * s / zoom, k * c / zoom, shift_y]])

    def crop(self, image: Image, size: int) -> Image:
        """The square as ``size`` x ``size`` x 3 uint8; pixels outside the frame repeat its edge."""
        flags, border = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
        return cv2.warpAffine(image, self.matrix(size), (size, size), flags=flags, borderMode=border).astype(
            np.uint8, copy=False
        )

    def paste(self, values: Floats, width: int, height: int, zoom: float = 1.0) -> Floats:
        """S x S ``values`` of the crop laid on a frame of ``height`` x ``width``; 0 outside, bilinear.

        ``zoom`` below 1 lays them on a frame that has been shrunk by it.
        """
        matrix = self.matrix(values.shape[0], zoom)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(values, matrix, (width, height), flags=flags, borderValue=0).astype(
            np.float32, copy=False
        )


def letterbox(image: Image, size: int) -> tuple[Floats, float, float, float]:
    """``image`` in the middle of a black ``size`` x ``size`` square, its shape kept, area-averaged.

    Returns:
        The square (size x size x 3 uint8 values as float32); then the side of the square in pixels of
        ``image`` and the x and y of its top left corner there.
    """
    height, width = image.shape[:2]
    side = max(height, width)
    w, h = max(1, round(width * size / side)), max(1, round(height * size / side))
    square = np.zeros((size, size, 3), np.float32)
    x, y = (size - w) // 2, (size - h) // 2
    square[y : y + h, x : x + w] = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
    return square, float(side), (width - side) / 2, (height - side) / 2


def mask_iou(a: Mask, b: Mask) -> float:
    """Intersection over union of two masks of one size; 1 when both are empty."""
    union = int(np.count_nonzero(a | b))
    return 1.0 if union == 0 else int(np.count_nonzero(a & b)) / union


def overlap(part: Mask, whole: Mask) -> float:
    """Share of ``part`` that lies in ``whole``; 0 when ``part`` is empty."""
    area = int(np.count_nonzero(part))
    return 0.0 if area == 0 else int(np.count_nonzero(part & whole)) / area


def person_box(points: Floats, height: int, width: int) -> Floats:
    """x0, y0, x1, y1 (float32, pixels): the hull of N x 2 ``points`` with a margin, cut at the frame."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = BOX_MARGIN * float((high - low).max())
    box = np.concatenate([low - margin, high + margin])
    clipped: Floats = np.clip(box, 0, [width, height, width, height]).astype(np.float32)
    return clipped
