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

import numpy as np

from broker.frame_views import PoseClass
from broker.messages import Keypoints
from tasks.pose_geometry import (
    FEET,
    HIP,
    NECK,
    Body,
    Point,
    confident_points,
    extent,
    knee_angle,
    legs,
    read_body,
)

SMALL = 0.22
"""Longer side of the person's box over the geometric mean of the frame's sides: in a frame of 16:9 a standing
person of less than 29 % of its height; of a device's input of 256 x 256 some 56 pixels."""
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
LOW_HIPS = 0.42
"""The same, below which they are low if the knees under load are bent and the trunk is not. A camera above
the hips shortens standing legs to 0.35, so the height alone proves nothing here."""
BENT_KNEE = 125.0
"""Degrees at both knees, 180 stretched; who steps bends one and keeps above 130 in the other."""
SHARP_KNEE = 100.0
"""Degrees at one knee that are enough alone: a lunge."""
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

_FACE = (0, 15, 16, 17, 18)
_WRISTS = (4, 7)


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
    points = confident_points(keypoints, min_confidence)
    if not points or extent(points).max() < SMALL * math.sqrt(width * height):
        return PoseClass.SMALL
    body = read_body(points)
    if body is None:
        wide, tall = extent(points)
        return PoseClass.LYING if wide > 1.5 * tall else PoseClass.UPRIGHT_TURNED
    return _whole(body) or _low(body) or _upright(body)


def _whole(body: Body) -> PoseClass | None:
    """``inverted`` or ``lying``. Who folds forward over standing legs is neither."""
    standing = body.hips is not None and body.hips > LYING_DROP
    if standing:
        return None
    if body.lean > INVERTED_LEAN and (body.hips is None or body.hips < -LYING_DROP):
        return PoseClass.INVERTED
    return PoseClass.LYING if body.lean >= LYING_LEAN else None


def _low(body: Body) -> PoseClass | None:
    """``sitting`` or ``crouched``, told apart by whether the feet could carry the trunk."""
    if body.hips is None or body.hips > LOW_HIPS:
        return None
    if _thighs_at_camera(body):
        return PoseClass.SITTING
    if body.hips > DEEP_HIPS and (body.lean > BENT_LEAN or not _knees_bent(body)):
        return None
    return PoseClass.SITTING if body.hips < FLOOR_HIPS or _off_its_feet(body) else PoseClass.CROUCHED


def _upright(body: Body) -> PoseClass:
    if body.lean > BENT_LEAN or body.trunk < BENT_SHORT:
        return PoseClass.BENT
    if _arms_raised(body):
        return PoseClass.ARMS_RAISED
    return PoseClass.UPRIGHT_FRONT if _faces_camera(body) else PoseClass.UPRIGHT_TURNED


def _off_its_feet(body: Body) -> bool:
    """Whether the middle of the trunk is beside everything that stands on the floor."""
    ground = [body.points[n][0] for foot in FEET for n in foot if n in body.points]
    floor = body.points[HIP][1] + (body.hips or 0.0) * body.stature
    knees = [body.points[n] for n in (10, 13) if n in body.points]
    ground += [knee[0] for knee in knees if knee[1] > floor - 0.06 * body.stature]
    middle = (body.points[NECK][0] + 2 * body.points[HIP][0]) / 3
    beside = max(min(ground) - middle, middle - max(ground))
    return bool(beside > SEAT * body.stature)


def _knees_bent(body: Body) -> bool:
    """Whether the legs that carry are bent: all of them, or one sharply."""
    seen = legs(body)
    floor = max((float(ankle[1]) for _, _, ankle in seen), default=0.0) - ON_FLOOR * body.stature
    angles = [knee_angle(*leg) for leg in seen if leg[2][1] >= floor]
    return bool(angles) and (max(angles) < BENT_KNEE or min(angles) < SHARP_KNEE)


def _thighs_at_camera(body: Body) -> bool:
    seen = legs(body)
    return bool(seen) and all(_is_seat_to_camera(*leg, body.stature) for leg in seen)


def _is_seat_to_camera(hip: Point, knee: Point, ankle: Point, stature: float) -> bool:
    thigh, shank = knee - hip, ankle - knee
    long = float(np.linalg.norm(shank))
    upright = shank[1] > 0.8 * long and long > 0.12 * stature
    return bool(upright and np.linalg.norm(thigh) < SHORT_THIGH * long)


def _arms_raised(body: Body) -> bool:
    face = [body.points[n][1] for n in _FACE if n in body.points]
    top = min(face) - RAISED * body.stature if face else body.points[NECK][1] - 0.18 * body.stature
    return any(body.points[n][1] < top for n in _WRISTS if n in body.points)


def _faces_camera(body: Body) -> bool:
    pairs = [(a, b) for a, b in ((2, 5), (9, 12)) if a in body.points and b in body.points]
    across = sum(float(body.points[b][0] - body.points[a][0]) for a, b in pairs) / body.stature
    return across > FACING * len(pairs) / 2 and any(n in body.points for n in (0, 15, 16))
