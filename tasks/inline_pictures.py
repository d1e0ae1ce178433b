"""Pixels inside the message, for a device whose worker does not reach the artifact store.

The worker in front of the device puts the open frames into the message, the device's worker answers with
person maps in the message, and the worker behind makes masks of them and stores what the device could not:
in the end the store holds the same bytes as if the device had reached it.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Mapping, Sequence

from broker.errors import HardposeError
from broker.messages import InlinePicture, Keeper, Segment, SegmentResult
from broker.recipe import ModelSpec, Recipe, Stage
from tasks.device_pictures import as_sent
from tasks.faults import decide_open
from tasks.frame_store import FrameStore
from tasks.picture_source import mask_png
from tasks.placement import Group
from workers.contracts import Image, PersonMap
from workers.devices.answers import threshold_of
from workers.devices.errors import DeviceFault, UnreadableAnswer
from workers.pictures import PictureDamaged, decode_grey, decode_rgb, encode_png, size_of


class InlineTooLarge(HardposeError):
    """The pictures of a segment are too many or too large for one message."""

    code = "inline_too_large"


class PicturesMissing(HardposeError):
    """A message without the pictures that its open frames need: to the device, or back from it."""

    code = "inline_pictures_missing"


class PicturesUnknown(HardposeError):
    """A message with pictures of frames that are not open, or with two of one frame."""

    code = "inline_pictures_unknown"


class PictureNotReturned(DeviceFault):
    """The device's worker sent no map of this frame, and did not say why."""

    code = "device_nothing_returned"


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


# --- in front of the device --------------------------------------------------------------------


def with_frames(result: SegmentResult, frames: FrameStore, most_bytes: int) -> SegmentResult:
    """``result`` with the pictures that the device is to be shown; a frame without one is ``failed``.

    Args:
        result: of the stages before ``me``.
        frames: where the stored frames are.
        most_bytes: of all pictures, as they travel.

    Raises:
        InlineTooLarge: they take more.
        ArtifactMissing: not one frame is in the store.
    """
    spec = result.segment.recipe.device_model
    pictures: list[InlinePicture] = []

    def pack(keeper: Keeper) -> Keeper:
        pictures.append(inline_picture(keeper.time_ms, _for_device(frames.get(keeper.frame_key), spec)))
        check_room(result.segment, pictures, most_bytes)
        return keeper

    done = decide_open(result, Stage.ME, pack)
    return done.model_copy(update={"pictures": tuple(pictures)})


def _for_device(stored: bytes, spec: ModelSpec) -> bytes:
    route = spec.route
    if spec.options.get("frames") != "jpeg" and not (route and route.width and route.height):
        return stored  # as it is: the device sees the frame itself, and a JPEG is smaller than its PNG
    return as_sent(decode_rgb(stored), spec)


def check_room(segment: Segment, pictures: Sequence[InlinePicture], most_bytes: int) -> None:
    """Lets pictures pass that one message can carry.

    Raises:
        InlineTooLarge: they take more than ``most_bytes``.
    """
    taken = sum(len(picture.data) for picture in pictures)
    if taken > most_bytes:
        raise InlineTooLarge(
            f"{len(pictures)} pictures of segment {segment.index} to or from the device {_device(segment)} "
            f"take {taken} bytes, and a message may have {most_bytes}.",
            'Set frames = "jpeg" in the device\'s description, let it read the artifact store, or raise '
            "HARDPOSE_INLINE_MAX_BYTES where the broker has the memory. Fewer frames a second "
            "(HARDPOSE_SAMPLING__KEEPS_PER_SECOND) or shorter segments (HARDPOSE_SAMPLING__SEGMENT_SECONDS) "
            "help as well; for these all stages work anew.",
        )


# --- at the device -----------------------------------------------------------------------------


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
                f"Segment {result.segment.index} came to the device {_device(result.segment)} without the "
                f"pictures of {len(missing)} of its {len(result.open)} frames, the first at {missing[0]} ms.",
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
        self._answers[keeper.time_ms] = inline_picture(keeper.time_ms, encode_png(answer))
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


# --- behind the device -------------------------------------------------------------------------


def with_masks(result: SegmentResult, frames: FrameStore) -> SegmentResult:
    """``result`` as the stage ``me`` leaves it on a machine that reaches the store: masks stored, by key.

    A frame whose map cannot be read, or that has none, is ``failed``. Doing it twice leaves the same bytes.

    Args:
        result: as it came from the device, with a person map for every open keeper.
        frames: where the masks go.

    Raises:
        PicturesMissing: it has open keepers and not one map: no device's worker was at it.
        PicturesUnknown: the maps are not those of the open keepers.
        ArtifactMissing: not one frame is in the store.
    """
    segment, maps = result.segment, by_time(result)
    if undrawn(result) and not maps:
        raise PicturesMissing(
            f"Segment {segment.index} came back from the device {_device(segment)} without a mask.",
            "Run the same release of hardpose on the device as behind it.",
        )

    def unpack(keeper: Keeper) -> Keeper:
        if keeper.device_key is not None:
            return keeper
        answer = _map_of(maps, keeper)
        width, height = size_of(frames.get(keeper.mask_key or keeper.frame_key))  # of one size, and smaller
        key = segment.artifact_key(Stage.ME, keeper.time_ms, "png")
        frames.put(key, mask_png(answer, width, height, threshold_of(segment.recipe.device_model)))
        return keeper.model_copy(update={"device_key": key})

    return decide_open(result, Stage.ME, unpack).model_copy(update={"pictures": ()}).check_open()


def _map_of(maps: Mapping[int, InlinePicture], keeper: Keeper) -> PersonMap:
    if keeper.time_ms not in maps:
        raise PictureNotReturned(
            f"The device's worker returned no map of the frame at {keeper.time_ms} ms.", "Look at its log."
        )
    try:
        return decode_grey(bytes_of(maps[keeper.time_ms]))
    except PictureDamaged as error:
        raise UnreadableAnswer(error.cause, "Look at the link between the device and the broker.") from error


# --- both ways ---------------------------------------------------------------------------------


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


def _device(segment: Segment) -> str:
    route = segment.recipe.device_model.route
    return route.device if route else segment.recipe.device_model.name
