"""The two ends of the inline way that reach the store: frames into a message, masks out of it."""

from collections.abc import Mapping

from broker.messages import InlinePicture, Keeper, SegmentResult
from broker.recipe import ModelSpec, Stage
from tasks.device_pictures import as_sent
from tasks.faults import decide_open
from tasks.frame_store import FrameStore
from tasks.inline_pictures import (
    PicturesMissing,
    by_time,
    bytes_of,
    check_room,
    device_named,
    inline_picture,
    undrawn,
)
from tasks.picture_source import mask_png
from workers.contracts import PersonMap
from workers.devices.answers import threshold_of
from workers.devices.errors import DeviceFault, UnreadableAnswer
from workers.pictures import PictureDamaged, decode_grey, decode_rgb, size_of


class PictureNotReturned(DeviceFault):
    """The device's worker sent no map of this frame, and did not say why."""

    code = "device_nothing_returned"


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
            f"Segment {segment.index} came back from the device {device_named(segment)} without a mask.",
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
