"""A figure that painted weights can find: grey 40 on black, and each BODY_25 part a disc of its own grey.

Who only needs to know where the body is looks for grey above 20. The figure faces the viewer, so its right
side is on the left of the picture.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.pose.openpose.skeletons import BODY_25

Points = NDArray[np.float32]
Picture = NDArray[np.uint8]

FRAME = (1280, 720)
"""Width and height in which the figure's own measures are pixels at scale 1."""
BODY = 40
"""Grey of the silhouette."""
DISC = 13
"""Radius of a part's disc."""
LIMB, TORSO_EDGE, HEAD = 52, 40, 90
"""Width of a limb and of the rounding around the torso, and radius of the head."""


def level(part: int) -> int:
    """The grey of a part's disc: 60, 67 ... 228."""
    return 60 + 7 * part


MIDDLE = {0: (0, -215), 1: (0, -125), 8: (0, 70)}
LEFT = {
    5: (78, -100), 12: (45, 97), 13: (56, 170), 14: (65, 238), 16: (28, -252), 18: (64, -222),
    19: (86, 290), 20: (122, 268), 21: (44, 286),
}  # fmt: skip
ARMS = {"down": {6: (132, -45), 7: (186, 14)}, "up": {6: (132, -160), 7: (186, -222)}}
MIRROR = {5: 2, 6: 3, 7: 4, 12: 9, 13: 10, 14: 11, 16: 15, 18: 17, 19: 22, 20: 23, 21: 24}
"""Left part: the right one opposite."""


def relative_points(arms: str = "down") -> Points:
    """25 x 2 float32: where the parts are from the figure's centre, x to the right, y down, at scale 1."""
    left = {**LEFT, **ARMS[arms]}
    right = {MIRROR[part]: (-x, y) for part, (x, y) in left.items()}
    places = {**MIDDLE, **left, **right}
    return np.array([places[part] for part in range(25)], np.float32)


def points(
    width: int = FRAME[0],
    height: int = FRAME[1],
    centre: tuple[float, float] | None = None,
    scale: float = 1.0,
    arms: str = "down",
) -> Points:
    """25 x 2 float32: the true positions of the parts in the frame that ``draw`` gives, in pixels.

    Args:
        width: of the frame.
        height: of the frame; the figure scales with it.
        centre: x and y in pixels; the middle of the frame if not given.
        scale: 1 lets the figure fill 0.86 of the frame's height.
        arms: "down" or "up".
    """
    x, y = centre if centre is not None else (width / 2, height / 2)
    size = scale * height / FRAME[1]
    return np.round(relative_points(arms) * size + np.array([x, y], np.float32)).astype(np.float32)


POINTS = points()
"""25 x 2 float32: the true positions in a frame of 1280 x 720, arms down."""


def draw(
    width: int = FRAME[0],
    height: int = FRAME[1],
    centre: tuple[float, float] | None = None,
    scale: float = 1.0,
    arms: str = "down",
    onto: Picture | None = None,
) -> Picture:
    """H x W x 3 uint8, R=G=B: the figure on black, or over the picture ``onto``. See ``points``."""
    picture = np.zeros((height, width, 3), np.uint8) if onto is None else onto.copy()
    size = scale * height / FRAME[1]
    places = [(int(x), int(y)) for x, y in points(width, height, centre, scale, arms)]
    for a, b in BODY_25.pairs[:18] + BODY_25.pairs[20:]:
        cv2.line(picture, places[a], places[b], (BODY,) * 3, max(3, round(LIMB * size)))
    torso = np.array([places[part] for part in (2, 1, 5, 12, 8, 9)], np.int32)
    cv2.fillPoly(picture, [torso], (BODY,) * 3)
    cv2.polylines(picture, [torso], True, (BODY,) * 3, max(3, round(TORSO_EDGE * size)))
    head = (places[0][0], places[0][1] - round(15 * size))
    cv2.circle(picture, head, round(HEAD * size), (BODY,) * 3, -1)
    for part, place in enumerate(places):
        cv2.circle(picture, place, max(2, round(DISC * size)), (level(part),) * 3, -1)
    return picture


def silhouette(picture: Picture) -> NDArray[np.bool_]:
    """H x W bool: where the figure is."""
    return picture[:, :, 0] > 20
