"""The me stage: what the device cuts out of each kept frame."""

from broker.messages import Keeper, SegmentResult
from broker.recipe import Stage
from tasks.faults import decide_open
from tasks.frame_store import FrameStore
from tasks.picture_source import StoredPictures
from tasks.timing import Stopwatch
from workers.contracts import Device


class DeviceMasks:
    """Stage ``me``: stores the device's mask of every open keeper, at the frame's size.

    Args:
        device: draws the masks; it sees the stored JPEG's pixels, as the teacher does.
    """

    stage = Stage.ME

    def __init__(self, device: Device) -> None:
        self._device = device

    def load(self) -> None:
        """Loads the device's driver."""
        self._device.load()

    def run(self, result: SegmentResult, frames: FrameStore) -> SegmentResult:
        """Gives each open keeper its ``device_key``.

        Raises:
            HardposeError: if the device cannot be used at all.
        """
        watch = Stopwatch()
        pictures = StoredPictures(frames, result.segment)
        done = decide_open(result, Stage.ME, lambda keeper: self._draw(keeper, pictures))
        return watch.stamp(done, Stage.ME)

    def _draw(self, keeper: Keeper, pictures: StoredPictures) -> Keeper:
        image = pictures.image(keeper)
        return pictures.put(keeper, self._device.maps([image])[0])
