"""When a frame repeats a kept one: the pose has hardly moved and the picture looks the same."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from broker.messages import DuplicateRule, Keeper, Keypoints
from tasks.full_body import body_extent
from workers.contracts import Image

CONFIDENT = 0.3
"""Points below this are guesses (MediaPipe Pose visibility; see FullBodyRule.min_confidence)."""
NOTHING_IN_COMMON = 1.0
"""Pose distance, in body extents, of two poses without a common confident point."""
CROP_MARGIN = 0.05
"""Share of the box's longer side by which the person crop is wider than the keypoints."""


def pose_distance(a: Keypoints, b: Keypoints, min_confidence: float = CONFIDENT) -> float:
    """Mean displacement of the points confident in both poses, over the larger body's extent.

    Symmetric; 0 for a pose with itself if it has a confident point; not changed by scaling both.

    Args:
        a: 25 x (x, y, confidence), pixels.
        b: the same of the other frame.
        min_confidence: from which confidence a point counts.
    """
    left, right = np.asarray(a, np.float32), np.asarray(b, np.float32)
    least = np.minimum(left[:, 2], right[:, 2])
    common = (least >= min_confidence) & (least > 0)
    if not common.any():
        return NOTHING_IN_COMMON
    moved = np.linalg.norm(left[common, :2] - right[common, :2], axis=1).mean()
    return float(moved) / max(body_extent(left, min_confidence), body_extent(right, min_confidence))


def person_crop(image: Image, points: NDArray[np.float32], min_confidence: float) -> Image:
    """The part of ``image`` around the confident points (25 x 3), a little wider, inside the frame.

    At least one pixel in each direction, also when every point lies outside.
    """
    seen = points[(points[:, 2] >= min_confidence) & (points[:, 2] > 0), :2]
    if not len(seen):
        return image
    low, high = seen.min(axis=0), seen.max(axis=0)
    pad = CROP_MARGIN * float((high - low).max())
    height, width = image.shape[:2]
    x0, y0 = (int(np.clip(v - pad, 0, n - 1)) for v, n in zip(low, (width, height), strict=True))
    x1, y1 = (int(np.clip(v + pad + 1, 1, n)) for v, n in zip(high, (width, height), strict=True))
    return image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]


def perceptual_hash(crop: Image) -> str:
    """64-bit DCT hash of ``crop`` (H x W x 3 uint8 RGB), 16 hex digits.

    Grey 32 x 32 picture, its cosine transform's 8 x 8 lowest frequencies, each bit above their median
    (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010). The constant
    term is left out of the median: it is brightness, and would shift it.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return np.packbits(bits).tobytes().hex()


def hash_distance(a: str, b: str) -> int:
    """Number of different bits of two hashes in hex: 0 to 64."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def find_repeated(
    keypoints: Keypoints, phash: str, kept: Iterable[Keeper], rule: DuplicateRule
) -> tuple[float, int] | None:
    """Distances (pose, hash) to the kept frame that this one repeats most closely; None if it is new.

    A frame repeats another when *both* distances are within ``rule``: an athlete who holds still in front
    of a moving camera gives new frames, and so does one who moves in front of a still one.
    """
    near = [pair for pair in _distances(keypoints, phash, kept) if _within(pair, rule)]
    return min(near, default=None)


def nearest(keypoints: Keypoints, phash: str, kept: Iterable[Keeper]) -> tuple[float, int] | None:
    """Least pose distance and least hash distance to any kept frame; None when nothing is kept yet."""
    pairs = _distances(keypoints, phash, kept)
    if not pairs:
        return None
    return min(pose for pose, _ in pairs), min(bits for _, bits in pairs)


def _distances(keypoints: Keypoints, phash: str, kept: Iterable[Keeper]) -> list[tuple[float, int]]:
    return [(pose_distance(keypoints, k.keypoints), hash_distance(phash, k.phash)) for k in kept]


def _within(pair: tuple[float, int], rule: DuplicateRule) -> bool:
    return pair[0] <= rule.pose_distance and pair[1] <= rule.hash_distance
