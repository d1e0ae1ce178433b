"""Pixels inside the message, for a device whose worker does not reach the artifact store.

The worker in front of the device puts the open frames into the message, the device's worker answers with
person maps in the message, and the worker behind makes masks of them and stores what the device could not:
in the end the store holds the same bytes as if the device had reached it.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Sequence

from broker.errors import HardposeError
from broker.messages import InlinePicture, Keeper, Segment, SegmentResult
from broker.recipe import Recipe, Stage
from tasks.frame_store import FrameStore
from tasks.placement import Group
from workers.contracts import Image, PersonMap
from workers.pictures import PictureDamaged, decode_rgb, encode_png


class InlineTooLarge(HardposeError):
    """The pictures of a segment are too many or too large for one message."""

    code = "inline_too_large"


class PicturesMissing(HardposeError):
    """A message without the pictures that its open frames need: to the device, or back from it."""

    code = "inline_pictures_missing"


class PicturesUnknown(HardposeError):
    """A message with pictures of frames that are not open, or with two of one frame."""

    code = "inline_pictures_unknown"


def away_from_store(stages: Group, recipe: Recipe) -> bool:
    """Whether ``stages`` are a device's work that is done with what is in the message alone."""
    route = recipe.device_model.route
    return tuple(stages) == (Stage.ME,) and route is not None and route.pixels == "inline"


def comes_from_away(stages: Group, recipe: Recipe) -> bool:
    """Whether ``stages`` are the first behind a device that worked away from the store."""
    return stages[:1] == (Stage.COMPARE,) and away_from_store((Stage.ME,), recipe)


def undrawn(result: SegmentResult) -> tuple[Keeper, ...]:
    """The open keepers of which the device has not drawn a mask yet."""
    return tuple(keeper for keeper in result.open if keeper.device_key is None)


def inline_picture(time_ms: int, data: bytes) -> InlinePicture:
    """A PNG or JPEG as it travels."""
    return InlinePicture(time_ms=time_ms, data=base64.b64encode(data).decode("ascii"))


def bytes_of(picture: InlinePicture) -> bytes:
    """The PNG or JPEG that travelled.

    Raises:
        PictureDamaged: it is no base64.
    """
    try:
        return base64.b64decode(picture.data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PictureDamaged(
            f"A picture inside a message is no base64: {error}.", "Look at what wrote it."
        ) from error


def by_time(result: SegmentResult) -> dict[int, InlinePicture]:
    """The pictures of ``result`` by the time of their frames.

    Raises:
        PicturesUnknown: there are two of one frame, or one of a frame that is not open.
    """
    times = [picture.time_ms for picture in result.pictures]
    strange = sorted(set(times) - {keeper.time_ms for keeper in result.open})
    strange += [time for time, count in Counter(times).items() if count > 1]
    if strange:
        raise PicturesUnknown(
            f"A message of segment {result.segment.index} has pictures that none of its open frames can "
            f"have, the first at {strange[0]} ms.",
            "Run the same release of hardpose in front of the device, on it and behind it.",
        )
    return {picture.time_ms: picture for picture in result.pictures}


def check_room(segment: Segment, pictures: Sequence[InlinePicture], most_bytes: int) -> None:
    """Lets pictures pass that one message can carry.

    Raises:
        InlineTooLarge: they take more than ``most_bytes``.
    """
    taken = sum(len(picture.data) for picture in pictures)
    if taken > most_bytes:
        raise InlineTooLarge(
            f"{len(pictures)} pictures of segment {segment.index} to or from the device "
            f"{device_named(segment)} take {taken} bytes, and a message may have {most_bytes}.",
            'Set frames = "jpeg" in the device\'s description, let it read the artifact store, or raise '
            "HARDPOSE_INLINE_MAX_BYTES where the broker has the memory. Fewer frames a second "
            "(HARDPOSE_SAMPLING__KEEPS_PER_SECOND) or shorter segments (HARDPOSE_SAMPLING__SEGMENT_SECONDS) "
            "help as well; for these all stages work anew.",
        )


def device_named(segment: Segment) -> str:
    """The name of the segment's device, for words."""
    route = segment.recipe.device_model.route
    return route.device if route else segment.recipe.device_model.name


class InlinePictures:
    """Frames from the message, and person maps into it. Implements ``tasks.picture_source.PictureSource``.

    Args:
        result: as it came, with a picture for every open keeper.

    Raises:
        PicturesMissing, PicturesUnknown: the pictures are not those of the open keepers.
    """

    def __init__(self, result: SegmentResult) -> None:
        self._frames = by_time(result)
        self._answers: dict[int, InlinePicture] = {}
        missing = [keeper.time_ms for keeper in undrawn(result) if keeper.time_ms not in self._frames]
        if missing:
            raise PicturesMissing(
                f"Segment {result.segment.index} came to the device {device_named(result.segment)} without "
                f"the pictures of {len(missing)} of its {len(result.open)} frames, "
                f"the first at {missing[0]} ms.",
                "Run the same release of hardpose in front of the device as on it.",
            )

    def image(self, keeper: Keeper) -> Image:
        """The frame as it was sent, H x W x 3 uint8 RGB.

        Raises:
            PictureDamaged: it cannot be decoded.
        """
        return decode_rgb(bytes_of(self._frames[keeper.time_ms]))

    def put(self, keeper: Keeper, answer: PersonMap) -> Keeper:
        """Keeps the map for the message; the keeper stays as it is, for the mask is made behind."""
        self._answers[keeper.time_ms] = inline_picture(keeper.time_ms, encode_png(answer, natural=True))
        return keeper

    def finish(self, result: SegmentResult) -> SegmentResult:
        """``result`` with the maps of its open keepers in place of the frames."""
        maps = tuple(self._answers[k.time_ms] for k in result.open if k.time_ms in self._answers)
        return result.model_copy(update={"pictures": maps})


class NoStore(FrameStore):
    """Stands for the artifact store where none can be reached; whoever asks it has a defect."""

    def __init__(self) -> None:
        self._written = {}

    def put(self, key: str, encoded: bytes) -> None:  # noqa: ARG002 - the store's own signature
        """Refuses."""
        raise RuntimeError(f"{key} was to be stored by a device's worker, which reaches no artifact store")

    def get(self, key: str) -> bytes:
        """Refuses."""
        raise RuntimeError(f"{key} was asked for by a device's worker, which reaches no artifact store")
