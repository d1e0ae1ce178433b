"""The pictures of the report: frames with the teacher's mask at the bottom left and the device's right.

After Fig. 5.1 of the report on which hardpose is built.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks import mask_colours
from tasks.dataset.selection import Selection, Shot
from workers.contracts import Mask

MAX_HARD = 200
"""Pictures in the report: 200 of 320 px are about 5 MB, which a browser opens at once."""
MAX_DOUBTFUL = 40
SIDE = 320
"""Longer side of a picture in pixels."""
INSET = 0.3
"""Width of an inset over the picture's width."""
QUALITY = 80

TEACHER_BGR, DEVICE_BGR = mask_colours.TEACHER[::-1], mask_colours.DEVICE[::-1]
"""Frames of the insets."""

Picture = NDArray[np.uint8]
"""H x W x 3 uint8, BGR as OpenCV encodes it."""
T = TypeVar("T")


@dataclass
class ContactSheet:
    """Collects the thumbnails of the frames chosen for the report, while their pictures pass by."""

    hard_shots: list[Shot]
    """Worst IoU first."""
    doubtful_shots: list[Shot]
    _thumbs: dict[str, str] = field(default_factory=dict)
    _wanted: set[str] = field(default_factory=set)

    @classmethod
    def plan(cls, selection: Selection) -> Self:
        """Chooses the frames to show: all, or as many as allowed, spread evenly from the worst IoU up."""
        worst_first = sorted(selection.written, key=lambda s: (s.keeper.iou or 0.0, s.name))
        hard = spread(worst_first, MAX_HARD)
        doubtful = spread(selection.doubtful, MAX_DOUBTFUL)
        return cls(hard, doubtful, _wanted={shot.name for shot in [*hard, *doubtful]})

    def add(self, shot: Shot, bgr: Picture, teacher: Mask, device: Mask | None) -> None:
        """Makes the thumbnail of ``shot`` if it is to be shown."""
        if shot.name in self._wanted:
            self._thumbs[shot.name] = data_uri(compose(bgr, teacher, device))

    def thumb(self, shot: Shot) -> str:
        """The thumbnail as a ``data:`` URI."""
        return self._thumbs[shot.name]


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of ``items``, evenly spread, in their order, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def compose(bgr: Picture, teacher: Mask, device: Mask | None) -> Picture:
    """A small picture of a frame with its masks.

    Args:
        bgr: the frame, H x W x 3 uint8 BGR.
        teacher: H x W bool, goes to the bottom left.
        device: H x W bool, goes to the bottom right; None when the frame never reached the device.
    """
    height, width = bgr.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    _put_inset(small, teacher, TEACHER_BGR, at_right=False)
    if device is not None:
        _put_inset(small, device, DEVICE_BGR, at_right=True)
    return small


def _put_inset(picture: Picture, mask: Mask, colour: tuple[int, int, int], at_right: bool) -> None:
    """Draws ``mask`` with a coloured frame into a lower corner of ``picture``, in place."""
    height, width = picture.shape[:2]
    inset_width, inset_height = max(2, round(width * INSET)), max(2, round(height * INSET))
    grey = mask.astype(np.uint8) * 255
    small = cv2.resize(grey, (inset_width, inset_height), interpolation=cv2.INTER_AREA)
    inset = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)
    cv2.rectangle(inset, (0, 0), (inset_width - 1, inset_height - 1), colour, 2)
    left = width - inset_width if at_right else 0
    picture[height - inset_height :, left : left + inset_width] = inset


def data_uri(picture: Picture) -> str:
    """``picture`` as a JPEG in a ``data:`` URI."""
    ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not ok:
        raise ValueError(f"OpenCV could not encode a picture of shape {picture.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
