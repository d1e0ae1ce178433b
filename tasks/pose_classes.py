"""How a person stands, from the keypoints alone: one of the nine classes of ``broker.frame_views.PoseClass``.

Every length is over the person's stature as the bones give it, every angle is against the picture's
vertical, so the place and the size of the person decide nothing but ``small``.

When two classes hold, the first of this order wins:

1. ``small``: too few pixels to tell a pose from; the contract says "whatever the pose".
2. ``inverted``, ``lying``: where the whole body points. An upside-down person's arms are raised and a lying
   person's hips are low, but neither is what the device stumbles over.
3. ``sitting``, ``crouched``: low hips. Who crouches low leans forward too, so they come before ``bent``; with
   the knees half bent the lean of the trunk decides.
4. ``bent``: the trunk. A bent person's hands are rarely above the head, and then the bend shapes more of
   the silhouette.
5. ``arms_raised``: the arms, before the side that the person is seen from.
6. ``upright_front``, ``upright_turned``: all others.

The thresholds were chosen on photos and clips by eye; they are conventions, not measurements.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from broker.frame_views import PoseClass
from broker.messages import Keypoints

SMALL = 0.22
"""Longer side of the person's box over the geometric mean of the frame's sides: in a frame of 16:9 a standing
person of less than 29 % of its height. Some 28 of the 128 pixels that a device of 256 x 256 looks at half."""
INVERTED_LEAN = 110.0
"""Degrees of the trunk from the vertical, neck up: the neck lies below the hips."""
LYING_LEAN = 55.0
"""Degrees of the trunk from straight up from which on a body without standing legs lies."""
LYING_DROP = 0.14
"""Statures that a lying person's ankles are at most below the hips; on hands and knees a thigh, 0.245."""
BENT_LEAN = 35.0
"""Degrees of the trunk from the vertical. Walking and running stay below 20."""
BENT_SHORT = 0.55
"""Length of the trunk over what the stature asks for, below which it points at the camera or away from it."""
DEEP_HIPS = 0.28
"""Statures from the ankles up to the hips, below which the hips are low whatever else is bent; standing
0.49, on a chair some 0.27, in a squat 0.1 to 0.2."""
LOW_HIPS = 0.4
"""The same, below which they are low if a knee under load is bent and the trunk is not. A camera above the
hips shortens standing legs to 0.35, so the height alone proves nothing here."""
BENT_KNEE = 125.0
"""Degrees at the knee, 180 stretched; walking stays above 150 on the leg that carries."""
ON_FLOOR = 0.12
"""Statures that a foot may be above the lower one and still carry."""
FLOOR_HIPS = 0.07
"""Hips at the height of the ankles: the person sits on the floor. In a squat the heels are between."""
SEAT = 0.1
"""Statures by which a trunk is off its feet to be carried by a seat: nobody crouches out of balance."""
SHORT_THIGH = 0.6
"""Length of the thigh over that of the shank, below which the thigh points at the camera above an upright
shank: sitting towards it."""
RAISED = 0.04
"""Statures of a wrist above the highest point of the face, about the height of the forehead."""
FACING = 0.2
"""Shoulders and hips from the person's right to the left in the picture, in statures; of one who faces the
camera 0.40 to 0.45, at 60 degrees the half."""

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

_NECK, _HIP = 1, 8
_FACE = (0, 15, 16, 17, 18)
_FEET = ((11, 24, 22, 23), (14, 21, 19, 20))
"""Ankle, heel and toes of the right and the left foot."""
_WRISTS = (4, 7)
_STAND_IN = {1: (2, 5), 8: (9, 12)}
"""Neck and mid-hip are the middle of two other points where a model does not give them."""

_Point = NDArray[np.float64]
"""x to the right, y down, in pixels."""


@dataclass(frozen=True)
class _Body:
    """A person whose trunk is known.

    Attributes:
        points: the confident points by BODY_25 number.
        stature: in pixels.
        lean: degrees of the trunk, hips to neck, from straight up: 0 upright, 90 horizontal, 180 upside down.
        trunk: its length in statures over what is expected; less than 1 when it points at the camera.
        hips: their height over the ankles in statures; None without feet.
    """

    points: dict[int, _Point]
    stature: float
    lean: float
    trunk: float
    hips: float | None


def classify(keypoints: Keypoints, width: int, height: int, min_confidence: float) -> PoseClass:
    """The pose class of a person.

    Args:
        keypoints: 25 x (x, y, confidence), BODY_25, x and y in pixels.
        width: of the frame in pixels.
        height: of the frame in pixels.
        min_confidence: a point counts from this confidence on, and above 0.

    Returns:
        Always one class. Without neck and hips nothing tells the trunk: such a person is ``lying`` if much
        wider than tall, else ``upright_turned``. Without any point the person is ``small``.
    """
    points = _confident(keypoints, min_confidence)
    if not points or _extent(points).max() < SMALL * math.sqrt(width * height):
        return PoseClass.SMALL
    body = _read(points)
    if body is None:
        wide, tall = _extent(points)
        return PoseClass.LYING if wide > 1.5 * tall else PoseClass.UPRIGHT_TURNED
    return _whole(body) or _low(body) or _upright(body)


def _whole(body: _Body) -> PoseClass | None:
    """``inverted`` or ``lying``. Who folds forward over standing legs is neither."""
    standing = body.hips is not None and body.hips > LYING_DROP
    if standing:
        return None
    if body.lean > INVERTED_LEAN and (body.hips is None or body.hips < -LYING_DROP):
        return PoseClass.INVERTED
    return PoseClass.LYING if body.lean >= LYING_LEAN else None


def _low(body: _Body) -> PoseClass | None:
    """``sitting`` or ``crouched``, told apart by whether the feet could carry the trunk."""
    if body.hips is None or body.hips > LOW_HIPS:
        return None
    if _thighs_at_camera(body):
        return PoseClass.SITTING
    if body.hips > DEEP_HIPS and (body.lean > BENT_LEAN or not _knee_bent(body)):
        return None
    return PoseClass.SITTING if body.hips < FLOOR_HIPS or _off_its_feet(body) else PoseClass.CROUCHED


def _upright(body: _Body) -> PoseClass:
    if body.lean > BENT_LEAN or body.trunk < BENT_SHORT:
        return PoseClass.BENT
    if _arms_raised(body):
        return PoseClass.ARMS_RAISED
    return PoseClass.UPRIGHT_FRONT if _faces_camera(body) else PoseClass.UPRIGHT_TURNED


def _confident(keypoints: Keypoints, min_confidence: float) -> dict[int, _Point]:
    points = {
        number: np.array((x, y), np.float64)
        for number, (x, y, confidence) in enumerate(keypoints)
        if confidence > 0 and confidence >= min_confidence and math.isfinite(x) and math.isfinite(y)
    }
    for number, pair in _STAND_IN.items():
        if number not in points and all(side in points for side in pair):
            points[number] = (points[pair[0]] + points[pair[1]]) / 2
    return points


def _extent(points: dict[int, _Point]) -> NDArray[np.float64]:
    extent: NDArray[np.float64] = np.ptp(np.array(list(points.values())), axis=0)
    return extent


def _read(points: dict[int, _Point]) -> _Body | None:
    if _NECK not in points or _HIP not in points:
        return None
    stature = _stature(points)
    right, down = points[_NECK] - points[_HIP]
    feet = [foot for foot in (_first(points, numbers) for numbers in _FEET) if foot is not None]
    return _Body(
        points=points,
        stature=stature,
        lean=math.degrees(math.atan2(abs(right), -down)),
        trunk=math.hypot(right, down) / (0.288 * stature),
        hips=max(float(foot[1] - points[_HIP][1]) for foot in feet) / stature if feet else None,
    )


def _stature(points: dict[int, _Point]) -> float:
    """In pixels, at least 1. By the second longest bone: views only shorten, a stray point lengthens."""
    statures = sorted(
        float(np.linalg.norm(points[a] - points[b])) / share
        for (a, b), share in _BONES
        if a in points and b in points
    )
    return max(1.0, *statures[-2:-1] or statures[-1:] or (0.0,))


def _first(points: dict[int, _Point], numbers: tuple[int, ...]) -> _Point | None:
    return next((points[number] for number in numbers if number in points), None)


def _off_its_feet(body: _Body) -> bool:
    """Whether the middle of the trunk is beside everything that stands on the floor."""
    ground = [body.points[n][0] for foot in _FEET for n in foot if n in body.points]
    floor = body.points[_HIP][1] + (body.hips or 0.0) * body.stature
    knees = [body.points[n] for n in (10, 13) if n in body.points]
    ground += [knee[0] for knee in knees if knee[1] > floor - 0.06 * body.stature]
    middle = (body.points[_NECK][0] + 2 * body.points[_HIP][0]) / 3
    beside = max(min(ground) - middle, middle - max(ground))
    return bool(beside > SEAT * body.stature)


def _legs(body: _Body) -> list[tuple[_Point, _Point, _Point]]:
    """Hip, knee and ankle of each leg that is seen whole."""
    sides = ((9, 10, 11), (12, 13, 14))
    return [
        (body.points[hip], body.points[knee], body.points[ankle])
        for hip, knee, ankle in sides
        if hip in body.points and knee in body.points and ankle in body.points
    ]


def _knee_bent(body: _Body) -> bool:
    """Whether a knee above a foot that carries is bent."""
    legs = _legs(body)
    floor = max((float(ankle[1]) for _, _, ankle in legs), default=0.0) - ON_FLOOR * body.stature
    return any(leg[2][1] >= floor and _angle(*leg) < BENT_KNEE for leg in legs)


def _angle(hip: _Point, knee: _Point, ankle: _Point) -> float:
    """Degrees between thigh and shank; 180 when one of them has no length."""
    thigh, shank = hip - knee, ankle - knee
    lengths = float(np.linalg.norm(thigh) * np.linalg.norm(shank))
    return math.degrees(math.acos(max(-1.0, min(1.0, float(thigh @ shank) / lengths)))) if lengths else 180.0


def _thighs_at_camera(body: _Body) -> bool:
    legs = _legs(body)
    return bool(legs) and all(_is_seat_to_camera(*leg, body.stature) for leg in legs)


def _is_seat_to_camera(hip: _Point, knee: _Point, ankle: _Point, stature: float) -> bool:
    thigh, shank = knee - hip, ankle - knee
    long = float(np.linalg.norm(shank))
    upright = shank[1] > 0.8 * long and long > 0.12 * stature
    return bool(upright and np.linalg.norm(thigh) < SHORT_THIGH * long)


def _arms_raised(body: _Body) -> bool:
    face = [body.points[n][1] for n in _FACE if n in body.points]
    top = min(face) - RAISED * body.stature if face else body.points[_NECK][1] - 0.18 * body.stature
    return any(body.points[n][1] < top for n in _WRISTS if n in body.points)


def _faces_camera(body: _Body) -> bool:
    pairs = [(a, b) for a, b in ((2, 5), (9, 12)) if a in body.points and b in body.points]
    across = sum(float(body.points[b][0] - body.points[a][0]) for a, b in pairs) / body.stature
    return across > FACING * len(pairs) / 2 and any(n in body.points for n in (0, 15, 16))
