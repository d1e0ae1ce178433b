"""The pictures of one frame, read from the artifact store and checked before they enter the data set."""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from broker.errors import ArtifactMissing
from tasks.dataset.selection import Shot
from workers.contracts import Mask


class Store(Protocol):
    """What the data set needs of an artifact store."""

    def get(self, key: str) -> bytes:
        """The bytes under ``key``; raises ``ArtifactMissing``."""
        ...


class PictureUnusable(ArtifactMissing):
    """A stored picture is damaged, or does not fit its frame."""

    code = "picture_unusable"


@dataclass(frozen=True)
class MaskPicture:
    """A mask as stored (PNG bytes of 0 and 255) and decoded (H x W bool)."""

    png: bytes
    mask: Mask


@dataclass(frozen=True)
class FramePicture:
    """A frame as stored (JPEG bytes) and decoded (H x W x 3 uint8, BGR)."""

    jpeg: bytes
    bgr: NDArray[np.uint8]


def read_frame(shot: Shot, store: Store) -> FramePicture:
    """The frame of ``shot``.

    Raises:
        ArtifactMissing: it is not in the store; names the frame.
        PictureUnusable: it cannot be decoded.
    """
    data = _fetch(shot, store, shot.keeper.frame_key, "frame")
    return FramePicture(data, _decode(shot, data, cv2.IMREAD_COLOR, "frame"))


def read_mask(shot: Shot, store: Store, key: str | None, what: str, size: tuple[int, ...]) -> MaskPicture:
    """A mask of ``shot``.

    Args:
        shot: the frame.
        store: where the mask is.
        key: its key there.
        what: its name in errors, for example ``teacher's mask``.
        size: height and width that it must have.

    Raises:
        ArtifactMissing: it is not in the store; names the frame.
        PictureUnusable: it cannot be decoded, has another size or other values than 0 and 255.
    """
    data = _fetch(shot, store, key, what)
    pixels = _decode(shot, data, cv2.IMREAD_UNCHANGED, what)
    if pixels.shape != size:
        shape = "x".join(str(n) for n in pixels.shape)
        raise _unusable(shot, f"{what} is {shape} (height x width), the frame {size[0]}x{size[1]}")
    mask = pixels > 127
    if np.any(pixels != mask.view(np.uint8) * np.uint8(255)):
        raise _unusable(shot, f"{what} has values other than 0 and 255")
    return MaskPicture(data, mask)


def _fetch(shot: Shot, store: Store, key: str | None, what: str) -> bytes:
    if key is None:
        raise ArtifactMissing(f"The {_place(shot)} has no {what}.", _AGAIN)
    try:
        return store.get(key)
    except ArtifactMissing as error:
        raise ArtifactMissing(f"The {what} of the {_place(shot)} is gone: {error.cause}", _AGAIN) from error


def _decode(shot: Shot, data: bytes, flags: int, what: str) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if pixels is None:
        raise _unusable(shot, f"{what} cannot be decoded")
    return pixels.astype(np.uint8, copy=False)


def _unusable(shot: Shot, fault: str) -> PictureUnusable:
    return PictureUnusable(f"The {_place(shot)} cannot be published: its {fault}.", _AGAIN)


def _place(shot: Shot) -> str:
    return f"frame at {shot.keeper.time_ms} ms of {shot.video.id}"


_AGAIN = "Remove the job with `hardpose delete JOB` and run it again."
"""A finished job is not worked on again, so nothing less brings a picture back."""
