"""The walk over frames that finds those that repeat an earlier one, over all videos."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from broker.messages import Keypoints
from broker.recipe import DuplicateRule
from tasks.duplicates import pose_distance


@dataclass(frozen=True)
class Repeat:
    """What a frame repeats.

    Attributes:
        index: of the earlier frame, counted from 0 over those that repeat nothing.
        pose_distance: mean keypoint displacement over the body's extent.
        hash_distance: Hamming distance of the two 64-bit perceptual hashes.
    """

    index: int
    pose_distance: float
    hash_distance: int


class Walk:
    """Holds the frames that were visited and repeat nothing, and compares each new one with all of them.

    Of a frame it keeps a hash of 64 bits and 25 x 3 float32: 308 bytes.
    """

    def __init__(self, rule: DuplicateRule, min_confidence: float) -> None:
        self._rule = rule
        self._min_confidence = min_confidence
        self._hashes: NDArray[np.uint64] = np.zeros(1024, np.uint64)
        self._poses: NDArray[np.float32] = np.zeros((1024, 25, 3), np.float32)
        self._count = 0

    def visit(self, keypoints: Keypoints | NDArray[np.float64], phash: str) -> Repeat | None:
        """The nearest earlier frame within both distances; None for a frame that is new, which is kept.

        Args:
            keypoints: BODY_25, 25 x (x, y, confidence), pixels.
            phash: perceptual hash, 16 hex digits.
        """
        code, pose = np.uint64(int(phash, 16)), np.asarray(keypoints, np.float32)
        repeated = self._repeated(pose, code)
        if repeated is None:
            self._keep(pose, code)
        return repeated

    def _keep(self, pose: NDArray[np.float32], code: np.uint64) -> None:
        if self._count == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
            self._poses = np.concatenate([self._poses, np.zeros_like(self._poses)])
        self._hashes[self._count], self._poses[self._count] = code, pose
        self._count += 1

    def _repeated(self, pose: NDArray[np.float32], code: np.uint64) -> Repeat | None:
        """The hashes are compared first and all at once: a data set of 20,000 frames has 200 million pairs,
        too many for a pose distance each.
        """
        hamming = np.bitwise_count(self._hashes[: self._count] ^ code)
        near = np.flatnonzero(hamming <= self._rule.hash_distance)
        pairs = [(self._distance(pose, self._poses[i]), int(i)) for i in near]
        close = [pair for pair in pairs if pair[0] <= self._rule.pose_distance]
        if not close:
            return None
        distance, index = min(close)
        return Repeat(index, distance, int(hamming[index]))

    def _distance(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
        return pose_distance(a, b, self._min_confidence)
