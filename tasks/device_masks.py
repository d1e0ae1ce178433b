"""The me stage: what the device cuts out of each kept frame."""

from broker.messages import Keeper, SegmentResult
from broker.recipe import Stage
from tasks.faults import decide_open
from tasks.frames import Frames
from tasks.timing import Stopwatch
from workers.contracts import Device
from workers.devices.answers import DEFAULT_THRESHOLD, mask_of


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

    def run(self, result: SegmentResult, frames: Frames) -> SegmentResult:
        """Gives each open keeper its ``device_key``.

        Raises:
            HardposeError: if the device cannot be used at all.
        """
        watch = Stopwatch()
        done = decide_open(result, Stage.ME, lambda keeper: self._draw(keeper, result, frames))
        return watch.stamp(done, Stage.ME)

    def _draw(self, keeper: Keeper, result: SegmentResult, frames: Frames) -> Keeper:
        image = frames.image(keeper.frame_key)
        height, width = image.shape[:2]
        threshold = float(result.segment.recipe.device_model.options.get("threshold", DEFAULT_THRESHOLD))
        mask = mask_of(self._device.maps([image])[0], width, height, threshold)
        key = result.segment.artifact_key(Stage.ME, keeper.time_ms, "png")
        frames.put_mask(key, mask)
        return keeper.model_copy(update={"device_key": key})
