"""The full-body rule (report 4.1): head, both hands and both feet are seen, inside the frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from broker.errors import SettingsError
from broker.messages import Verdict
from broker.recipe import FullBodyRule

Points = NDArray[np.float32]
"""25 x 3: x, y in pixels, confidence in [0, 1]; BODY_25 order."""

# BODY_25 indices, from OpenPose's output documentation.
RIGHT_WRIST, LEFT_WRIST = 4, 7
LEFT_TOES, RIGHT_TOES = (19, 20), (22, 23)


@dataclass(frozen=True)
class BodyReading:
    """The numbers that the rule judges.

    Attributes:
        head: best confidence among the rule's head points.
        right_wrist: confidence of point 4.
        left_wrist: confidence of point 7.
        left_toes: better confidence of points 19 and 20.
        right_toes: better confidence of points 22 and 23.
        margin: least distance of a confident point from the frame's edge over the body's extent;
            negative when a confident point lies outside the frame, 0 when no point is confident.
    """

    head: float
    right_wrist: float
    left_wrist: float
    left_toes: float
    right_toes: float
    margin: float

    @property
    def hands(self) -> float:
        """Lower confidence of the two wrists."""
        return min(self.right_wrist, self.left_wrist)

    @property
    def feet(self) -> float:
        """Lower of the two feet's best toe confidence."""
        return min(self.left_toes, self.right_toes)


def require_points(model: str, given: frozenset[int], rule: FullBodyRule) -> None:
    """Refuses a pose model that can never satisfy the rule.

    Args:
        model: its name.
        given: the BODY_25 points that it can give.
        rule: whose head points count.

    Raises:
        SettingsError: names what the model lacks: every frame would be dropped for it.
    """
    parts = (
        ("head", rule.head_points),
        ("right hand", (RIGHT_WRIST,)),
        ("left hand", (LEFT_WRIST,)),
        ("toes of the left foot", LEFT_TOES),
        ("toes of the right foot", RIGHT_TOES),
    )
    lacking = [name for name, points in parts if not given.intersection(points)]
    if lacking:
        raise SettingsError(
            f"The pose model {model} has no points for the {', '.join(lacking)}, "
            "which the full-body rule asks for: it would drop every frame.",
            "Choose a model that gives them, such as HARDPOSE_POSE_MODEL=openpose-body25 or blazepose.",
        )


def clean_points(points: Points) -> Points:
    """A copy in which a point with a number that is not finite is absent (0, 0, 0)."""
    finite = np.isfinite(points).all(axis=1, keepdims=True)
    return np.where(finite, points, np.float32(0)).astype(np.float32)


def confident_points(points: Points, min_confidence: float) -> Points:
    """The rows of ``points`` (25 x 3) whose confidence is above 0 and at least ``min_confidence``."""
    kept: Points = points[(points[:, 2] >= min_confidence) & (points[:, 2] > 0)]
    return kept


def body_extent(points: Points, min_confidence: float) -> float:
    """Longer side in pixels of the box around the confident points; at least 1, so it can divide."""
    seen = confident_points(points, min_confidence)[:, :2]
    return max(1.0, float(np.ptp(seen, axis=0).max())) if len(seen) else 1.0


def frame_margin(points: Points, width: int, height: int, min_confidence: float) -> float:
    """Least distance of a confident point from the frame's edge, over the body's extent.

    Negative outside the frame: a network that regresses points knows no frame and is confident beyond it.
    """
    seen = confident_points(points, min_confidence)
    if not len(seen):
        return 0.0
    x, y = seen[:, 0], seen[:, 1]
    inside = min(x.min(), y.min(), width - x.max(), height - y.max())
    return float(inside) / body_extent(points, min_confidence)


def read_body(points: Points, width: int, height: int, rule: FullBodyRule) -> BodyReading:
    """Reads the numbers of the rule from 25 x 3 keypoints in a frame of ``width`` x ``height`` pixels."""
    confidence = points[:, 2]
    return BodyReading(
        head=max((float(confidence[i]) for i in rule.head_points), default=0.0),
        right_wrist=float(confidence[RIGHT_WRIST]),
        left_wrist=float(confidence[LEFT_WRIST]),
        left_toes=float(confidence[list(LEFT_TOES)].max()),
        right_toes=float(confidence[list(RIGHT_TOES)].max()),
        margin=frame_margin(points, width, height, rule.min_confidence),
    )


def judge_body(reading: BodyReading, rule: FullBodyRule) -> tuple[Verdict, float] | None:
    """The first part of the rule that fails, with its number; None when the body is whole.

    The points of the rule are confident once the first three parts hold, so the margin speaks for
    them too: a required point outside the frame never passes.
    """
    parts = (
        (Verdict.NO_HEAD, reading.head, rule.min_confidence),
        (Verdict.NO_HANDS, reading.hands, rule.min_confidence),
        (Verdict.NO_FEET, reading.feet, rule.min_confidence),
        (Verdict.CUT_BY_FRAME, reading.margin, rule.frame_margin),
    )
    for verdict, value, least in parts:
        absent = verdict != Verdict.CUT_BY_FRAME and value <= 0
        if absent or value < least:
            return verdict, value
    return None
