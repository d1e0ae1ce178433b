"""The worst frames as pictures: the person cut out, with the teacher's and the device's outline."""

from dataclasses import dataclass

import cv2
import numpy as np

from broker.errors import ArtifactMissing, NotFound
from broker.frame_views import FrameDetail
from broker.messages import Keeper
from tasks.dataset.contact_sheet import DEVICE_BGR, SIDE, TEACHER_BGR, Picture, data_uri
from tasks.dataset.pictures import Store, read_frame, read_mask
from tasks.dataset.selection import Shot
from workers.contracts import Mask

MARGIN = 0.12
"""Around the person, over the longer side of what is cut out: a mask that runs away is seen to do so."""
GONE = (ArtifactMissing, NotFound)
"""A frame or a picture that was removed meanwhile: the report says so and goes on."""

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole pixels; the end is not in it."""


@dataclass(frozen=True)
class Portrait:
    """A frame and its picture.

    Attributes:
        frame: what is known of it.
        image: a ``data:`` URI; empty when a picture is gone.
        lost: why it is gone.
    """

    frame: FrameDetail
    image: str
    lost: str = ""


def portrait(frame: FrameDetail, store: Store) -> Portrait:
    """The picture of ``frame``; one that is gone or damaged leaves its reason."""
    shot = Shot(frame.video, frame.keeper)
    try:
        bgr = read_frame(shot, store).bgr
        size = bgr.shape[:2]
        teacher = read_mask(shot, store, frame.keeper.mask_key, "teacher's mask", size).mask
        device = read_mask(shot, store, frame.keeper.device_key, "device's mask", size).mask
    except ArtifactMissing as error:
        return Portrait(frame, "", error.cause)
    return Portrait(frame, data_uri(outlined(bgr, teacher, device, frame.keeper)))


def outlined(bgr: Picture, teacher: Mask, device: Mask, keeper: Keeper, whole: Mask | None = None) -> Picture:
    """The person cut out of a frame, at most 320 pixels a side, with both outlines.

    Args:
        bgr: H x W x 3 uint8, BGR.
        teacher: H x W bool; its outline is orange.
        device: H x W bool; its outline is blue and lies above the other.
        keeper: whose box belongs to the picture, whatever the masks are.
        whole: H x W bool; what else the picture must hold, so that two of one frame show the same part.
    """
    x0, y0, x1, y1 = around(teacher, device if whole is None else device | whole, keeper)
    scale = min(1.0, SIDE / max(x1 - x0, y1 - y0))
    size = (max(8, round((x1 - x0) * scale)), max(8, round((y1 - y0) * scale)))
    small = cv2.resize(bgr[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    for mask, colour in ((teacher, TEACHER_BGR), (device, DEVICE_BGR)):
        _outline(small, mask[y0:y1, x0:x1], colour)
    return small


def around(teacher: Mask, device: Mask, keeper: Keeper) -> Box:
    """The box of both masks and of the person, with a margin, inside the frame; never empty."""
    height, width = teacher.shape
    rows, columns = np.nonzero(teacher | device)
    xs = [*keeper.box[::2], *((columns.min(), columns.max() + 1) if len(columns) else ())]
    ys = [*keeper.box[1::2], *((rows.min(), rows.max() + 1) if len(rows) else ())]
    room = MARGIN * max(max(xs) - min(xs), max(ys) - min(ys))
    x0, x1 = _inside(min(xs) - room, max(xs) + room, width)
    y0, y1 = _inside(min(ys) - room, max(ys) + room, height)
    return x0, y0, x1, y1


def _inside(low: float, high: float, size: int) -> tuple[int, int]:
    start = min(max(0, int(low)), size - 1)
    return start, max(start + 1, min(size, round(high)))


def _outline(picture: Picture, mask: Mask, colour: tuple[int, int, int]) -> None:
    """Draws the outline of ``mask`` into ``picture``, in place; dark beneath, to show on any ground."""
    height, width = picture.shape[:2]
    small = cv2.resize(mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA)
    contours, _ = cv2.findContours((small > 127).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, (20, 20, 20), 4, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, colour, 2, cv2.LINE_AA)
