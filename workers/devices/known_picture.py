"""A picture of one person whose mask is known: does a device answer at all, and rightly?

Source, authors and licence of the one that comes with hardpose stand in ``known_picture.NOTICE`` beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypeVar

from workers.contracts import Device, Image, Mask, PersonMap
from workers.devices.answers import mask_of
from workers.devices.description import DeviceDescription
from workers.pictures import PictureDamaged, decode_grey, decode_rgb

Array = TypeVar("Array", Image, Mask)
LEAST_IOU = 0.5
"""A device below it on this easy picture is not what its description says; the embedded student has 0.92."""
PERSON = 128
"""From this grey on a pixel of a mask's file is person."""


@dataclass(frozen=True, eq=False)
class KnownPicture:
    """A picture and its mask.

    Attributes:
        picture: H x W x 3 uint8 RGB, read-only.
        truth: H x W bool, read-only; some of it True, and not all.
    """

    picture: Image
    truth: Mask

    @property
    def share(self) -> float:
        """Of the picture that is person, in (0, 1)."""
        return float(self.truth.mean())

    def iou(self, answer: PersonMap, threshold: float) -> float:
        """IoU of an answer to ``picture`` with its mask, in [0, 1]; 0 for an empty one.

        Args:
            answer: h x w uint8, 0 background to 255 person.
            threshold: probability in (0, 1) from which a pixel is person.
        """
        drawn = mask_of(answer, self.truth.shape[1], self.truth.shape[0], threshold)
        return float((drawn & self.truth).sum() / (drawn | self.truth).sum())

    def check(self, device: Device, threshold: float) -> bool:
        """Whether ``device`` draws the person.

        Args:
            device: loaded.
            threshold: see ``iou``.

        Raises:
            ImageFailed: it gave no usable answer.
            DeviceAway: it does not answer.
        """
        (answer,) = device.maps([self.picture])
        return self.iou(answer, threshold) >= LEAST_IOU


@cache
def embedded() -> KnownPicture:
    """640 x 480 (height x width): one person from head to foot, from behind, indoors; 10 % of it is person.

    A whole picture of person has an IoU of 0.10 with it.
    """
    folder = files("workers.devices")
    picture, truth = ((folder / f"known_picture.{end}").read_bytes() for end in ("jpg", "png"))
    return KnownPicture(_sealed(decode_rgb(picture)), _sealed(decode_grey(truth) >= PERSON))


def of(description: DeviceDescription) -> KnownPicture:
    """The picture that a device is tried on: its page's own, for a device for other scenes; or the embedded.

    Raises:
        DeviceMisdescribed: it cannot be read, or its mask is none of it; names the line.
    """
    if description.known_files is None:
        return embedded()
    picture = _sealed(_read(description, "image", decode_rgb))
    truth = _sealed(_read(description, "mask", decode_grey) >= PERSON)
    if truth.shape != picture.shape[:2]:
        raise description.wrong(
            "known_picture.mask",
            f"it measures {truth.shape[1]} x {truth.shape[0]}, and the picture {picture.shape[1]} x "
            f"{picture.shape[0]} (width x height).",
            "Give a mask of the picture's size.",
        )
    if truth.all() or not truth.any():
        raise description.wrong(
            "known_picture.mask",
            f"all of it is {'person' if truth.all() else 'background'}.",
            "Give a grey picture: 0 for background, 255 for person.",
        )
    return KnownPicture(picture, truth)


def _read(description: DeviceDescription, name: str, decode: Callable[[bytes], Image]) -> Image:
    """A picture that the page names.

    Raises:
        DeviceMisdescribed: it cannot be read or decoded.
    """
    assert description.known_files is not None
    path = description.known_files[name]
    try:
        return decode(path.read_bytes())
    except OSError as error:
        why = f"{path} cannot be read ({error.strerror})."
    except PictureDamaged as error:
        why = error.cause
    raise description.wrong(f"known_picture.{name}", why, "Give a PNG or JPEG.")


def _sealed(values: Array) -> Array:
    values.flags.writeable = False
    return values
