"""How a segment's pictures pass a device, which is to wait for as little else as possible."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from broker.messages import Keeper
from tasks.beside import made_ahead, thread_beside
from tasks.device_asking import Answer, Asking, Shown
from tasks.faults import frame_faults
from tasks.picture_source import PictureSource
from workers.contracts import Image
from workers.device_turn import Turn

Made = TypeVar("Made")
Outcome = Keeper | Exception
"""A keeper with its mask, or the fault that its frame causes."""
Prepare = Callable[[Image], Any]
"""From a picture to what the device's driver may be given in its place."""
BATCHES_AHEAD = 2
"""Batches that are read before the device asks for them, and that wait to be stored behind it."""


def draw_beside(
    keepers: Sequence[Keeper], pictures: PictureSource, prepare: Prepare, asking: Asking
) -> dict[int, Outcome]:
    """Pictures are read, and answers put away, in threads beside the device: of one that has one process.

    Returns:
        The outcome of each keeper, by its time.
    """
    ahead = BATCHES_AHEAD * asking.batch_size
    outcomes: dict[int, Outcome] = {}
    behind: deque[tuple[Keeper, Future[Keeper]]] = deque()

    def settle() -> None:
        keeper, stored = behind.popleft()
        outcomes[keeper.time_ms] = _or_fault(stored.result)

    with thread_beside("pictures") as reader, thread_beside("masks") as writer:
        read = made_ahead(reader, keepers, lambda keeper: prepare(pictures.image(keeper)), ahead)
        for keeper, answer in _answers(((keeper, _or_fault(f.result)) for keeper, f in read), asking):
            if isinstance(answer, Exception):
                outcomes[keeper.time_ms] = answer
                continue
            behind.append((keeper, writer.submit(_put, pictures, keeper, answer)))
            if len(behind) > ahead:
                settle()
        while behind:
            settle()
    return outcomes


def draw_in_turns(
    keepers: Sequence[Keeper], pictures: PictureSource, prepare: Prepare, asking: Asking, turn: Turn
) -> dict[int, Outcome]:
    """Several processes have the device: in turns, in which the others read pictures and put answers away, or
    each its own.

    No threads: beside an interpreter they would keep it waiting for Python's lock after each picture.

    Returns:
        The outcome of each keeper, by its time.
    """
    outcomes: dict[int, Outcome] = {}

    def seen(keeper: Keeper) -> Any:
        return prepare(pictures.image(keeper))

    read = ((keeper, _or_fault(partial(seen, keeper))) for keeper in keepers)
    for portion in _portions(read, asking.batch_size, turn.most_bytes):
        with turn.taken():
            answers = list(_answers(portion, asking))
        for keeper, answer in answers:
            if isinstance(answer, Exception):
                outcomes[keeper.time_ms] = answer
            else:
                outcomes[keeper.time_ms] = _or_fault(partial(_put, pictures, keeper, answer))
    return outcomes


def _portions(
    read: Iterable[tuple[Keeper, Any]], batch: int, most_bytes: int
) -> Iterator[list[tuple[Keeper, Any]]]:
    """Whole batches, of ``most_bytes`` or a little more."""
    portion: list[tuple[Keeper, Any]] = []
    taken = 0
    for keeper, image in read:
        portion.append((keeper, image))
        taken += _size(image)
        if taken >= most_bytes and len(portion) % batch == 0:
            yield portion
            portion, taken = [], 0
    if portion:
        yield portion


def _size(image: Any) -> int:
    return int(getattr(getattr(image, "values", image), "nbytes", 0))


def _answers(
    read: Iterable[tuple[Keeper, Any]], asking: Asking
) -> Iterator[tuple[Keeper, Answer | Exception]]:
    """The device's answer for each keeper, or the fault that its picture or the device's answer is."""
    batch: list[tuple[Keeper, Any]] = []
    for keeper, image in read:
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


def _put(pictures: PictureSource, keeper: Keeper, answer: Answer) -> Keeper:
    measures = {**keeper.measures, "device_empty": float(answer.empty)}
    if answer.ms is not None:
        measures["device_ms"] = answer.ms
    return pictures.put(keeper.model_copy(update={"measures": measures}), answer.person)


def _or_fault(make: Callable[[], Made]) -> Made | Exception:
    """What is made, or what one picture can cause; anything else is raised here."""
    try:
        return make()
    except frame_faults() as error:
        return error
