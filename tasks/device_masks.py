"""The me stage: what the device cuts out of each kept frame."""

from collections.abc import Sequence

from broker.messages import Keeper, SegmentResult
from broker.recipe import Stage
from tasks.device_asking import Asking
from tasks.device_drawing import Outcome, Prepare, draw_beside, draw_in_turns
from tasks.faults import decide_open
from tasks.frame_store import FrameStore
from tasks.inline_pictures import InlinePictures, NoStore, undrawn
from tasks.looks import or_raise
from tasks.picture_source import PictureSource, StoredPictures
from tasks.suspect_frames import current_suspects
from tasks.timing import Stopwatch
from workers.contracts import Device, Image
from workers.device_turn import Turn
from workers.devices.answers import threshold_of
from workers.devices.description import DeviceDescription


class DeviceMasks:
    """Stage ``me``: the device's mask of every open keeper, at the frame's size.

    Pictures are read, and masks stored, beside the device: in threads, or by the worker's other processes.

    Args:
        device: draws the masks; it sees the stored JPEG's pixels, as the teacher does.
        described: of a device that has a worker of its own: its answers are doubted
            (``tasks.device_asking``).
        turn: of a device that several processes of this worker drive; None: this one alone drives it.
    """

    stage = Stage.ME

    def __init__(
        self,
        device: Device,
        described: DeviceDescription | None = None,
        turn: Turn | None = None,
    ) -> None:
        self._device, self._described, self._turn = device, described, turn

    def load(self) -> None:
        """Loads the device's driver."""
        self._device.load()

    def run(self, result: SegmentResult, frames: FrameStore) -> SegmentResult:
        """Gives each open keeper its ``device_key``, or puts its person map into the result.

        A frame that the device fails on is ``failed``, and its ``fault`` says how.

        Raises:
            DeviceAway: the device does not answer, or not even the known picture comes back right.
            HardposeError: the device cannot be used at all.
        """
        watch, waited = Stopwatch(), self._waited()
        pictures = source_of(result, frames)
        outcomes = self._draw(undrawn(result), pictures, threshold_of(result.segment.recipe.device_model))
        done = decide_open(result, Stage.ME, lambda keeper: or_raise(outcomes.get(keeper.time_ms, keeper)))
        return watch.stamp(pictures.finish(done), Stage.ME, self._waited() - waited)

    def _waited(self) -> float:
        return 0.0 if self._turn is None else self._turn.waited

    def _draw(
        self, keepers: Sequence[Keeper], pictures: PictureSource, threshold: float
    ) -> dict[int, Outcome]:
        asking = Asking(self._device, self._described, threshold, current_suspects())
        prepare: Prepare = getattr(self._device, "prepared", _as_it_is)
        if self._turn is None:
            return draw_beside(keepers, pictures, prepare, asking)
        return draw_in_turns(keepers, pictures, prepare, asking, self._turn)


def source_of(result: SegmentResult, frames: FrameStore) -> PictureSource:
    """Where the pictures of ``result`` are: in the message, or in the store."""
    if result.pictures or isinstance(frames, NoStore):
        return InlinePictures(result)
    return StoredPictures(frames, result.segment)


def _as_it_is(image: Image) -> Image:
    return image
