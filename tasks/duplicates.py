"""When a frame repeats a kept one: the pose has hardly moved and the picture looks the same."""

from collections.abc import Iterable

import numpy as np

from broker.messages import Keeper, Keypoints
from broker.recipe import DuplicateRule
from tasks.full_body import Points, body_extent

NOTHING_IN_COMMON = 1.0
"""Pose distance, in body extents, of two poses without a common confident point."""


def pose_distance(a: Keypoints | Points, b: Keypoints | Points, min_confidence: float) -> float:
    """Mean displacement of the points confident in both poses, over the larger body's extent.

    Symmetric; 0 for a pose with itself if it has a confident point; not changed by scaling both.

    Args:
        a: 25 x (x, y, confidence), pixels.
        b: the same of the other frame.
        min_confidence: from which confidence a point counts; the recipe's ``rule.min_confidence``.
    """
    left, right = np.asarray(a, np.float32), np.asarray(b, np.float32)
    least = np.minimum(left[:, 2], right[:, 2])
    common = (least >= min_confidence) & (least > 0)
    if not common.any():
        return NOTHING_IN_COMMON
    moved = np.linalg.norm(left[common, :2] - right[common, :2], axis=1).mean()
    return float(moved) / max(body_extent(left, min_confidence), body_extent(right, min_confidence))


def hash_distance(a: str, b: str) -> int:
    """Number of different bits of two hashes in hex: 0 to 64."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def find_repeated(
    keypoints: Keypoints, phash: str, kept: Iterable[Keeper], rule: DuplicateRule, min_confidence: float
) -> tuple[float, int] | None:
    """Distances (pose, hash) to the kept frame that this one repeats most closely; None if it is new.

    A frame repeats another when *both* distances are within ``rule``: an athlete who holds still in front
    of a moving camera gives new frames, and so does one who moves in front of a still one.
    ``min_confidence`` as in ``pose_distance``.
    """
    near = [pair for pair in _distances(keypoints, phash, kept, min_confidence) if _within(pair, rule)]
    return min(near, default=None)


def nearest(
    keypoints: Keypoints, phash: str, kept: Iterable[Keeper], min_confidence: float
) -> tuple[float, int] | None:
    """Least pose distance and least hash distance to any kept frame; None when nothing is kept yet.

    ``min_confidence`` as in ``pose_distance``.
    """
    pairs = _distances(keypoints, phash, kept, min_confidence)
    if not pairs:
        return None
    return min(pose for pose, _ in pairs), min(bits for _, bits in pairs)


def _distances(
    keypoints: Keypoints, phash: str, kept: Iterable[Keeper], min_confidence: float
) -> list[tuple[float, int]]:
    return [
        (pose_distance(keypoints, k.keypoints, min_confidence), hash_distance(phash, k.phash)) for k in kept
    ]


def _within(pair: tuple[float, int], rule: DuplicateRule) -> bool:
    return pair[0] <= rule.pose_distance and pair[1] <= rule.hash_distance
