"""OpenPose's people as this system's: BODY_25 in pixels of the frame."""

import numpy as np

from workers.contracts import Person
from workers.pose.body25 import NAMES
from workers.pose.geometry import Floats, person_box
from workers.pose.openpose.assembly import Assembled
from workers.pose.openpose.skeletons import Skeleton

MID_HIP, RIGHT_HIP, LEFT_HIP = (NAMES.index(name) for name in ("mid_hip", "right_hip", "left_hip"))


def answered(skeleton: Skeleton) -> frozenset[int]:
    """The BODY_25 points that a network with this skeleton can give."""
    found = {NAMES.index(part) for part in skeleton.parts}
    return frozenset(found | {MID_HIP} if {RIGHT_HIP, LEFT_HIP} <= found else found)


def person(found: Assembled, skeleton: Skeleton, to_frame: float, height: int, width: int) -> Person:
    """A person in pixels of a frame of ``height`` x ``width``; confidences and score cut to [0, 1].

    Args:
        found: in pixels of the network's input.
        skeleton: the order of its points.
        to_frame: pixels of the frame for one of the input.
        height: of the frame.
        width: of the frame.
    """
    points = found.points * np.array([to_frame, to_frame, 1], np.float32)
    keypoints = body25(points, skeleton)
    keypoints[:, 2] = keypoints[:, 2].clip(0, 1)
    box = person_box(keypoints[keypoints[:, 2] > 0, :2], height, width)
    return Person(keypoints, box, min(1.0, max(0.0, found.score)))


def body25(points: Floats, skeleton: Skeleton) -> Floats:
    """25 x 3 float32 from the skeleton's points (parts x 3: x, y, confidence), each put in its place.

    Without a mid-hip of its own it lies half-way between the hips, with the lower of their confidences,
    and is absent when one of them is. A part that the skeleton does not have is absent: 0, 0, 0.
    """
    keypoints = np.zeros((len(NAMES), 3), np.float32)
    keypoints[[NAMES.index(part) for part in skeleton.parts]] = points
    hips = keypoints[[RIGHT_HIP, LEFT_HIP]]
    if "mid_hip" not in skeleton.parts and (hips[:, 2] > 0).all():
        keypoints[MID_HIP] = (*hips[:, :2].mean(axis=0), hips[:, 2].min())
    return keypoints
