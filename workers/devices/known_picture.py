"""A picture of one person whose mask is known: does a device answer at all, and rightly?

Source, authors and licence stand in ``known_picture.NOTICE`` beside it.
"""

from functools import cache
from importlib.resources import files
from typing import TypeVar

from workers.contracts import Device, Image, Mask, PersonMap
from workers.devices.answers import mask_of
from workers.pictures import decode_grey, decode_rgb

Array = TypeVar("Array", Image, Mask)
LEAST_IOU = 0.5
"""A device below it on this easy picture is not what its description says; the embedded student has 0.92."""


@cache
def picture() -> Image:
    """640 x 480 x 3 uint8 RGB: one person from head to foot, from behind, indoors. Read-only."""
    return _sealed(decode_rgb(_bytes("known_picture.jpg")))


@cache
def truth() -> Mask:
    """Its mask, 640 x 480, 10 % of it True. Read-only."""
    return _sealed(decode_grey(_bytes("known_picture.png")) > 0)


def iou(answer: PersonMap, threshold: float) -> float:
    """IoU of an answer to ``picture`` with its mask, in [0, 1]; 0 for an empty one.

    Args:
        answer: h x w uint8, 0 background to 255 person.
        threshold: probability in (0, 1) from which a pixel is person.
    """
    known = truth()
    drawn = mask_of(answer, known.shape[1], known.shape[0], threshold)
    return float((drawn & known).sum() / (drawn | known).sum())


def check(device: Device, threshold: float) -> bool:
    """Whether ``device`` draws the person of the known picture. A whole picture of person has an IoU of 0.10.

    Args:
        device: loaded.
        threshold: see ``iou``.

    Raises:
        ImageFailed: it gave no usable answer.
        DeviceAway: it does not answer.
    """
    (answer,) = device.maps([picture()])
    return iou(answer, threshold) >= LEAST_IOU


def _bytes(name: str) -> bytes:
    return (files("workers.devices") / name).read_bytes()


def _sealed(values: Array) -> Array:
    values.flags.writeable = False
    return values
