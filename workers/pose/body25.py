"""BODY_25, the order in which every pose model answers, from the 33 BlazePose landmarks."""

import numpy as np

from workers.pose.geometry import Floats

NAMES = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist", "mid_hip", "right_hip",
    "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear", "left_big_toe",
    "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
"""The 25 names in order (OpenPose output documentation, BODY_25)."""

SOURCES: dict[int, int] = {
    0: 0, 2: 12, 3: 14, 4: 16, 5: 11, 6: 13, 7: 15, 9: 24, 10: 26, 11: 28, 12: 23, 13: 25, 14: 27,
    15: 5, 16: 2, 17: 8, 18: 7, 19: 31, 21: 29, 22: 32, 24: 30,
}  # fmt: skip
"""BODY_25 index: BlazePose landmark (MediaPipe Pose documentation). A foot index is a big toe."""
MIDDLES: dict[int, tuple[int, int]] = {1: (11, 12), 8: (23, 24)}
"""Neck and mid-hip lie half-way between two landmarks; BlazePose has no small toes (20 and 23)."""


def from_blazepose(xy: Floats, visibility: Floats, presence: Floats, min_presence: float) -> Floats:
    """25 x 3 float32: x, y, confidence.

    A point outside the frame keeps its coordinates and its confidence, so that "cut by the frame"
    can be told from "not in sight".

    Args:
        xy: at least 33 x 2, pixels.
        visibility: at least 33, becomes the confidence.
        presence: at least 33; below ``min_presence`` the confidence is 0.
        min_presence: in [0, 1].
    """
    trust = np.where(presence >= min_presence, visibility, 0)
    keypoints = np.zeros((25, 3), np.float32)
    for target, source in SOURCES.items():
        keypoints[target] = (*xy[source], trust[source])
    for target, (left, right) in MIDDLES.items():
        keypoints[target] = (*((xy[left] + xy[right]) / 2), min(trust[left], trust[right]))
    return keypoints
