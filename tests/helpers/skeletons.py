"""People of lines: BODY_25 keypoints of postures that are known by construction."""

import math

from broker.messages import Keypoints

WIDTH, HEIGHT = 1024, 1024
STATURE = 512.0

TRUNK, THIGH, SHANK, UPPER_ARM, FOREARM = 0.288, 0.245, 0.246, 0.186, 0.146
"""Over the stature; Drillis and Contini 1966."""

Points = dict[int, tuple[float, float]]


def figure(
    trunk: float = 0.0,
    thighs: tuple[float, float] = (0.0, 0.0),
    shanks: tuple[float, float] = (0.0, 0.0),
    arms: tuple[float, float] = (5.0, -5.0),
    turn: float = 0.0,
    thigh_length: float = 1.0,
    trunk_length: float = 1.0,
) -> Points:
    """A person, hips at the middle of the frame; angles in degrees.

    Args:
        trunk: from straight up to the right.
        thighs: of the right and the left leg, from straight down to the right of the picture.
        shanks: the same.
        arms: both parts of each arm, from straight down to the right.
        turn: of the body about the vertical: 0 faces the camera, 90 is a side, 180 the back.
        thigh_length: seen length over the real one; less than 1 towards the camera.
        trunk_length: the same.
    """
    up = math.radians(trunk)
    along, across = (math.sin(up), -math.cos(up)), (math.cos(up), math.sin(up))
    facing = math.cos(math.radians(turn))

    def at(height: float, side: float) -> tuple[float, float]:
        return along[0] * height + across[0] * side, along[1] * height + across[1] * side

    neck = TRUNK * trunk_length
    points = {8: at(0, 0), 1: at(neck, 0)}
    # In the picture the right side of one who faces the camera is on the left.
    points |= {2: at(neck, -0.13 * facing), 5: at(neck, 0.13 * facing)}
    points |= {9: at(0, -0.08 * facing), 12: at(0, 0.08 * facing)}
    if facing > -0.5:
        nose = 0.04 * math.sin(math.radians(turn))
        points |= {0: at(neck + 0.09, nose), 15: at(neck + 0.11, nose - 0.02 * facing)}
        points |= {16: at(neck + 0.11, nose + 0.02 * facing)}
    points |= {17: at(neck + 0.1, -0.05 * facing), 18: at(neck + 0.1, 0.05 * facing)}
    for side, (hip, knee, ankle, heel, toe, small_toe) in enumerate(
        ((9, 10, 11, 24, 22, 23), (12, 13, 14, 21, 19, 20))
    ):
        points[knee] = _down(points[hip], thighs[side], THIGH * thigh_length)
        points[ankle] = _down(points[knee], shanks[side], SHANK)
        points[heel] = _down(points[ankle], shanks[side], 0.02)
        points[toe] = points[small_toe] = _down(points[ankle], shanks[side] + 30, 0.04)
    for side, (shoulder, elbow, wrist) in enumerate(((2, 3, 4), (5, 6, 7))):
        points[elbow] = _down(points[shoulder], arms[side], UPPER_ARM)
        points[wrist] = _down(points[elbow], arms[side], FOREARM)
    return points


def _down(start: tuple[float, float], degrees: float, length: float) -> tuple[float, float]:
    angle = math.radians(degrees)
    return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)


def keypoints(points: Points, stature: float = STATURE, x: float = 512.0, y: float = 512.0) -> Keypoints:
    """``points`` in pixels, on a grid of 1/64, on which sums and products with powers of two are exact."""

    def grid(value: float) -> float:
        return round(value * 64) / 64

    return tuple(
        (grid(x + stature * points[n][0]), grid(y + stature * points[n][1]), 0.9)
        if n in points
        else (0.0, 0.0, 0.0)
        for n in range(25)
    )


def moved(given: Keypoints, scale: float, right: float, down: float) -> Keypoints:
    """Scaled about the frame's corner, then shifted; absent points stay absent."""
    return tuple((x * scale + right, y * scale + down, c) if c else (x, y, c) for x, y, c in given)


MIRROR = (0, 1, 5, 6, 7, 2, 3, 4, 8, 12, 13, 14, 9, 10, 11, 16, 15, 18, 17, 22, 23, 24, 19, 20, 21)
"""The BODY_25 number of each point's other side."""


def mirrored(given: Keypoints, width: int = WIDTH) -> Keypoints:
    """What the mirrored picture would give: left and right change places and names."""
    flipped = [(width - x, y, c) if c else (x, y, c) for x, y, c in given]
    return tuple(flipped[other] for other in MIRROR)
