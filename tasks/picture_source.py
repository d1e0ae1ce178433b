"""Where the device's pictures come from, and where its answers go: the artifact store, or the message."""

from typing import Protocol

from broker.messages import Keeper, Segment, SegmentResult
from broker.recipe import Stage
from tasks.device_pictures import as_seen
from tasks.frame_store import FrameStore
from workers.contracts import Image, PersonMap
from workers.devices.answers import mask_of, threshold_of
from workers.pictures import decode_rgb, encode_png


class PictureSource(Protocol):
    """The pictures of one segment's open keepers.

    ``image`` is called in one thread and ``put`` in another, each in the keepers' order; ``put`` of a keeper
    always after its ``image``.
    """

    def image(self, keeper: Keeper) -> Image:
        """What the device is shown, H x W x 3 uint8 RGB (``tasks.device_pictures``).

        Raises:
            ArtifactMissing: it is not there.
            PictureDamaged: it cannot be decoded.
        """
        ...

    def put(self, keeper: Keeper, answer: PersonMap) -> Keeper:
        """Keeps the device's answer; ``keeper`` with what points to it."""
        ...

    def finish(self, result: SegmentResult) -> SegmentResult:
        """``result`` with what else has to travel on; called once, behind the last ``put``."""
        ...


class StoredPictures:
    """Frames from the artifact store, and masks at the frame's size into it. Implements ``PictureSource``.

    Args:
        frames: of the segment.
        segment: whose recipe says what the device is shown.
    """

    def __init__(self, frames: FrameStore, segment: Segment) -> None:
        self._frames, self._segment = frames, segment
        self._sizes: dict[int, tuple[int, int]] = {}
        self._spec = segment.recipe.device_model

    def image(self, keeper: Keeper) -> Image:
        """See ``PictureSource``."""
        whole = decode_rgb(self._frames.get(keeper.frame_key))
        self._sizes[keeper.time_ms] = whole.shape[1], whole.shape[0]
        return as_seen(whole, self._spec)

    def put(self, keeper: Keeper, answer: PersonMap) -> Keeper:
        """Stores the mask; the keeper gets its ``device_key``."""
        width, height = self._sizes.pop(keeper.time_ms)
        key = self._segment.artifact_key(Stage.ME, keeper.time_ms, "png")
        self._frames.put(key, mask_png(answer, width, height, threshold_of(self._spec)))
        return keeper.model_copy(update={"device_key": key})

    def finish(self, result: SegmentResult) -> SegmentResult:
        """As it is."""
        return result


def mask_png(answer: PersonMap, width: int, height: int, threshold: float) -> bytes:
    """The mask of a frame as it is stored: a PNG of 0 and 255, ``width`` x ``height`` pixels."""
    return encode_png(mask_of(answer, width, height, threshold).view("uint8") * 255)
