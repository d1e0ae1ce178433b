"""The three pictures of a chosen frame, and what is told of it beside them."""

from dataclasses import dataclass
from typing import Any

from broker.errors import ArtifactMissing
from tasks.dataset.pictures import MaskPicture, Store, read_frame, read_mask
from tasks.dataset.selection import Shot
from tasks.dataset.text import public_source
from tasks.exports.picked import Picked

WITHOUT_IT = (
    "Reject the frame in the review, and exports leave it out; or delete its job and run that again. "
    "If its video was just removed, export again."
)
"""What helps when one picture of 50,000 is gone."""


@dataclass(frozen=True)
class Pictures:
    """A frame as it is stored, checked.

    Attributes:
        shot: the frame with its video.
        jpeg: the frame's bytes.
        height: of the frame, in pixels; so is ``width``.
        teacher: its mask, H x W.
        device: its mask, H x W; None where the frame did not reach the device.
    """

    shot: Shot
    jpeg: bytes
    height: int
    width: int
    teacher: MaskPicture
    device: MaskPicture | None


def read_pictures(frame: Picked, store: Store) -> Pictures:
    """Reads what the store holds of a frame.

    Raises:
        ArtifactMissing: a picture is not there; names the frame.
        PictureUnusable: one is damaged, or does not fit its frame.
    """
    try:
        return _read(frame.shot(), store)
    except ArtifactMissing as error:
        raise type(error)(error.cause, WITHOUT_IT) from error


def _read(shot: Shot, store: Store) -> Pictures:
    picture = read_frame(shot, store)
    height, width = picture.bgr.shape[:2]
    teacher = read_mask(shot, store, shot.keeper.mask_key, "teacher's mask", (height, width))
    device = None
    if shot.keeper.device_key is not None:
        device = read_mask(shot, store, shot.keeper.device_key, "device's mask", (height, width))
    return Pictures(shot, picture.jpeg, height, width, teacher, device)


def told_of(frame: Picked) -> dict[str, Any]:
    """What is told of a frame beside its pictures; plain values, the same names in all formats."""
    return {
        "frame": frame.frame_id,
        "video": frame.video.id,
        "source": public_source(frame.video.source),
        "title": frame.video.title,
        "uploader": frame.video.uploader,
        "source_licence": frame.video.licence,
        "time_ms": frame.time_ms,
        "split": frame.split,
        "arm": str(frame.arm),
        "verdict": str(frame.verdict),
        "value": frame.value,
        "iou": frame.iou,
        "doubt": frame.doubt,
        "pose_class": None if frame.pose_class is None else str(frame.pose_class),
        "review": str(frame.review),
        "recipe": frame.recipe_id,
    }
