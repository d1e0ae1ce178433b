"""A person as lengths and angles: what ``tasks.pose_classes`` judges. BODY_25, pixels, y down."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from broker.messages import Keypoints

_BONES = (
    ((1, 8), 0.288),
    ((2, 5), 0.259),
    ((9, 10), 0.245),
    ((12, 13), 0.245),
    ((10, 11), 0.246),
    ((13, 14), 0.246),
    ((2, 3), 0.186),
    ((5, 6), 0.186),
    ((3, 4), 0.146),
    ((6, 7), 0.146),
)
"""Two BODY_25 points and the length between them over the stature (Drillis and Contini 1966, in Winter,
Biomechanics and Motor Control of Human Movement, fig. 4.1)."""

NECK, HIP = 1, 8
FEET = ((11, 24, 22, 23), (14, 21, 19, 20))
"""Ankle, heel and toes of the right and the left foot."""
_STAND_IN = {1: (2, 5), 8: (9, 12)}
"""Neck and mid-hip are the middle of two other points where a model does not give them."""

Point = NDArray[np.float64]
"""x to the right, y down, in pixels."""


@dataclass(frozen=True)
class Body:
    """A person whose trunk is known.

    Attributes:
        points: the confident points by BODY_25 number.
        stature: in pixels.
        lean: degrees of the trunk, hips to neck, from straight up: 0 upright, 90 horizontal, 180 upside down.
        trunk: its length in statures over what is expected; less than 1 when it points at the camera.
        hips: their height over the ankles in statures; None without feet.
    """

    points: dict[int, Point]
    stature: float
    lean: float
    trunk: float
    hips: float | None


def confident_points(keypoints: Keypoints, min_confidence: float) -> dict[int, Point]:
    """The points that count, by BODY_25 number; neck and mid-hip by their stand-ins where they are absent.

    Args:
        keypoints: 25 x (x, y, confidence).
        min_confidence: a point counts from this confidence on, and above 0; one that is not finite never.
    """
    points = {
        number: np.array((x, y), np.float64)
        for number, (x, y, confidence) in enumerate(keypoints)
        if confidence > 0 and confidence >= min_confidence and math.isfinite(x) and math.isfinite(y)
    }
    for number, pair in _STAND_IN.items():
        if number not in points and all(side in points for side in pair):
            points[number] = (points[pair[0]] + points[pair[1]]) / 2
    return points


def extent(points: dict[int, Point]) -> NDArray[np.float64]:
    """Width and height in pixels of the box around ``points``, of which there is at least one."""
    box: NDArray[np.float64] = np.ptp(np.array(list(points.values())), axis=0)
    return box


def read_body(points: dict[int, Point]) -> Body | None:
    """The person; None where neck or hips are missing: then nothing tells the trunk."""
    if NECK not in points or HIP not in points:
        return None
    stature = _stature(points)
    right, down = points[NECK] - points[HIP]
    feet = [foot for foot in (_first(points, numbers) for numbers in FEET) if foot is not None]
    return Body(
        points=points,
        stature=stature,
        lean=math.degrees(math.atan2(abs(right), -down)),
        trunk=math.hypot(right, down) / (0.288 * stature),
        hips=max(float(foot[1] - points[HIP][1]) for foot in feet) / stature if feet else None,
    )


def _stature(points: dict[int, Point]) -> float:
    """In pixels, at least 1. By the second longest bone: views only shorten, a stray point lengthens."""
    statures = sorted(
        float(np.linalg.norm(points[a] - points[b])) / share
        for (a, b), share in _BONES
        if a in points and b in points
    )
    return max(1.0, *statures[-2:-1] or statures[-1:] or (0.0,))


def _first(points: dict[int, Point], numbers: tuple[int, ...]) -> Point | None:
    return next((points[number] for number in numbers if number in points), None)


def legs(body: Body) -> list[tuple[Point, Point, Point]]:
    """Hip, knee and ankle of each leg that is seen whole."""
    sides = ((9, 10, 11), (12, 13, 14))
    return [
        (body.points[hip], body.points[knee], body.points[ankle])
        for hip, knee, ankle in sides
        if hip in body.points and knee in body.points and ankle in body.points
    ]


def knee_angle(hip: Point, knee: Point, ankle: Point) -> float:
    """Degrees between thigh and shank; 180 when one of them has no length."""
    thigh, shank = hip - knee, ankle - knee
    lengths = float(np.linalg.norm(thigh) * np.linalg.norm(shank))
    return math.degrees(math.acos(max(-1.0, min(1.0, float(thigh @ shank) / lengths)))) if lengths else 180.0
