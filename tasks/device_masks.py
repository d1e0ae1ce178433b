"""The me stage: what the device cuts out of each kept frame."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

from broker.messages import Keeper, SegmentResult
from broker.recipe import Stage
from tasks.beside import made_ahead, thread_beside
from tasks.device_asking import Answer, Asking, Shown
from tasks.faults import decide_open, frame_faults
from tasks.frame_store import FrameStore
from tasks.inline_pictures import InlinePictures, NoStore, undrawn
from tasks.looks import or_raise
from tasks.picture_source import PictureSource, StoredPictures
from tasks.suspect_frames import current_suspects
from tasks.timing import Stopwatch
from workers.contracts import Device, Image
from workers.devices.answers import threshold_of
from workers.devices.description import DeviceDescription

Made = TypeVar("Made")
Outcome = Keeper | Exception
"""A keeper with its mask, or the fault that its frame causes."""
BATCHES_AHEAD = 2
"""Batches that are read before the device asks for them, and that wait to be stored behind it."""


class DeviceMasks:
    """Stage ``me``: the device's mask of every open keeper, at the frame's size.

    Pictures are read, and masks stored, in threads beside the device, which so waits for neither.

    Args:
        device: draws the masks; it sees the stored JPEG's pixels, as the teacher does.
        described: of a device that has a worker of its own: its answers are doubted
            (``tasks.device_asking``).
    """

    stage = Stage.ME

    def __init__(self, device: Device, described: DeviceDescription | None = None) -> None:
        self._device, self._described = device, described

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
        watch = Stopwatch()
        pictures = source_of(result, frames)
        outcomes = self._draw(undrawn(result), pictures, threshold_of(result.segment.recipe.device_model))
        done = decide_open(result, Stage.ME, lambda keeper: or_raise(outcomes.get(keeper.time_ms, keeper)))
        return watch.stamp(pictures.finish(done), Stage.ME)

    def _draw(
        self, keepers: Sequence[Keeper], pictures: PictureSource, threshold: float
    ) -> dict[int, Outcome]:
        asking = Asking(self._device, self._described, threshold, current_suspects())
        ahead = BATCHES_AHEAD * asking.batch_size
        prepared: Callable[[Image], Image] = getattr(self._device, "prepared", _as_it_is)
        outcomes: dict[int, Outcome] = {}
        behind: deque[tuple[Keeper, Future[Keeper]]] = deque()
        with thread_beside("pictures") as reader, thread_beside("masks") as writer:
            read = made_ahead(reader, keepers, lambda keeper: prepared(pictures.image(keeper)), ahead)
            for keeper, answer in _answers(read, asking):
                if isinstance(answer, Exception):
                    outcomes[keeper.time_ms] = answer
                    continue
                behind.append((keeper, writer.submit(pictures.put, _measured(keeper, answer), answer.person)))
                if len(behind) > ahead:
                    _settle(behind, outcomes)
            while behind:
                _settle(behind, outcomes)
        return outcomes


def source_of(result: SegmentResult, frames: FrameStore) -> PictureSource:
    """Where the pictures of ``result`` are: in the message, or in the store."""
    if result.pictures or isinstance(frames, NoStore):
        return InlinePictures(result)
    return StoredPictures(frames, result.segment)


def _as_it_is(image: Image) -> Image:
    return image


def _answers(
    read: Iterable[tuple[Keeper, Future[Image]]], asking: Asking
) -> Iterator[tuple[Keeper, Answer | Exception]]:
    """The device's answer for each keeper, or the fault that its picture or the device's answer is."""
    batch: list[tuple[Keeper, Image]] = []
    for keeper, picture in read:
        image = _result_or_fault(picture)
        if isinstance(image, Exception):
            yield keeper, image
            continue
        batch.append((keeper, image))
        if len(batch) >= asking.batch_size:
            yield from _asked(batch, asking)
            batch = []
    yield from _asked(batch, asking)


def _asked(
    batch: Sequence[tuple[Keeper, Image]], asking: Asking
) -> Iterator[tuple[Keeper, Answer | Exception]]:
    if batch:
        answers = asking.ask([Shown(keeper.time_ms, image) for keeper, image in batch])
        yield from zip((keeper for keeper, _ in batch), answers, strict=True)


def _measured(keeper: Keeper, answer: Answer) -> Keeper:
    measures = {**keeper.measures, "device_empty": float(answer.empty)}
    if answer.ms is not None:
        measures["device_ms"] = answer.ms
    return keeper.model_copy(update={"measures": measures})


def _settle(behind: deque[tuple[Keeper, Future[Keeper]]], outcomes: dict[int, Outcome]) -> None:
    keeper, stored = behind.popleft()
    outcome: Outcome = _result_or_fault(stored)
    outcomes[keeper.time_ms] = outcome


def _result_or_fault(future: Future[Made]) -> Made | Exception:
    """What was made, or what one picture can cause; anything else is raised here."""
    try:
        return future.result()
    except frame_faults() as error:
        return error
