"""How a device is asked, and when its answer is believed: no broken device may pass for a hard frame."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.faults import BadModelOutput
from tasks.looks import look
from tasks.suspect_frames import Suspects
from workers.contracts import Device, Image, PersonMap
from workers.devices import known_picture
from workers.devices.description import DeviceDescription
from workers.devices.errors import DeviceAway, DeviceFault, EmptyMask, PoisonFrame, WrongSize
from workers.errors import ImageFailed


@dataclass(frozen=True)
class Shown:
    """A frame that the device is shown."""

    time_ms: int
    image: Image
    """H x W x 3 uint8 RGB."""


@dataclass(frozen=True)
class Answer:
    """What the device said of one frame."""

    person: PersonMap
    ms: float | None
    """Wall-clock milliseconds of the call, over its frames; None of a device that is only emulated."""
    empty: bool
    """Whether no value reaches the threshold: the device sees nobody."""
    full: bool = False
    """Whether every value does: the device sees nothing but a person."""


class Asking:
    """Asks a device about the frames of one segment.

    A device that has a worker of its own can break, hang or come back from a reset with garbage. So what it
    fails on, or sees nobody in, or nothing but a person, is asked for once more, alone. If it stays at that,
    the device is shown the known picture: only one that still answers that rightly is believed.

    Args:
        device: is asked.
        described: None for a device that is emulated in this process, which gives the same answer each time.
        threshold: probability from which a pixel is person.
        suspects: frames that may end this process.
    """

    def __init__(
        self, device: Device, described: DeviceDescription | None, threshold: float, suspects: Suspects
    ) -> None:
        self._device, self._described, self._suspects = device, described, suspects
        self._threshold = threshold

    @property
    def batch_size(self) -> int:
        """Frames in one call; one, while it is looked for the frame that ends the process."""
        return 1 if self._suspects.watching else max(1, self._device.batch_size)

    def ask(self, frames: Sequence[Shown]) -> list[Answer | Exception]:
        """The answer for each frame, or the fault that the frame causes.

        Raises:
            DeviceAway: the device does not answer at all, or not even the known picture comes back right.
            BadModelOutput: its driver answers with something that no driver may.
        """
        if self._suspects.watching:
            return [answer for frame in frames for answer in self._ask_unless_condemned(frame)]
        return self._believed(frames)

    def _ask_unless_condemned(self, frame: Shown) -> list[Answer | Exception]:
        if frame.time_ms in self._suspects.condemned:
            return [
                PoisonFrame(
                    f"The frame at {frame.time_ms} ms has ended the process that drives the device.",
                    "Look at the worker's log; the frame is not shown to this device again.",
                )
            ]
        with self._suspects.shown(frame.time_ms):
            return self._believed([frame])

    def _believed(self, frames: Sequence[Shown]) -> list[Answer | Exception]:
        answers = self._asked(frames)
        if self._described is None:
            return answers
        for place, answer in enumerate(answers):
            # `look` has asked for each of a failed batch alone; a frame that was alone gets its second try.
            if _is_uniform(answer) or (_in_doubt(answer) and len(frames) == 1):
                (answers[place],) = self._asked(frames[place : place + 1])
        doubts = [answer for answer in answers if _in_doubt(answer)]
        if doubts:
            self._require_sane(doubts[-1])
        return [self._accepted(answer) for answer in answers]

    def _accepted(self, answer: Answer | Exception) -> Answer | Exception:
        assert self._described is not None
        if (
            isinstance(answer, Answer)
            and answer.empty
            and self._described.spec.options.get("empty_masks") == "refuse"
        ):
            return EmptyMask(
                f"The device {self._described.name} sees nobody.",
                'Its description says empty_masks = "refuse": such a frame is no frame of the data set.',
            )
        return answer

    def _asked(self, frames: Sequence[Shown]) -> list[Answer | Exception]:
        start = time.perf_counter()
        maps = look([frame.image for frame in frames], self._maps)
        spent = 1000 * (time.perf_counter() - start) / len(frames)
        ms = spent if self._described is not None else None
        return [each if isinstance(each, Exception) else self._answer(each, ms) for each in maps]

    def _answer(self, person: PersonMap, ms: float | None) -> Answer:
        least = 255 * self._threshold
        return Answer(person, ms, empty=bool(person.max() < least), full=bool(person.min() >= least))

    def _maps(self, images: Sequence[Image]) -> Sequence[PersonMap]:
        try:
            return [_checked(person) for person in self._device.maps(images)]
        except (RuntimeError, OSError) as error:
            if self._described is None:
                raise
            # A delegate that fails, a wire that breaks: the known picture tells what it is.
            raise DeviceFault(
                f"The device {self._described.name} failed: {type(error).__name__}: {error}.",
                "Look at its log.",
            ) from error

    def _require_sane(self, doubt: Answer | Exception) -> None:
        assert self._described is not None
        try:
            right = known_picture.of(self._described).check(self._device, self._threshold)
        except (ImageFailed, RuntimeError, OSError) as error:
            right, doubt = False, error
        if not right:
            seen = "nobody" if isinstance(doubt, Answer) and doubt.empty else "nothing but a person"
            what = doubt if isinstance(doubt, Exception) else f"it saw {seen} on a frame"
            raise DeviceAway(
                f"The device {self._described.name} does not answer even the known picture rightly ({what}).",
                "Its work waits. Look at the device; `hardpose devices test` says what it answers.",
            )


def _in_doubt(answer: Answer | Exception) -> bool:
    return isinstance(answer, Exception) or _is_uniform(answer)


def _is_uniform(answer: Answer | Exception) -> bool:
    """Whether it is what a broken device may answer to every picture."""
    return isinstance(answer, Answer) and (answer.empty or answer.full)


def _checked(person: PersonMap) -> PersonMap:
    if not isinstance(person, np.ndarray) or person.dtype != np.uint8:
        found = getattr(person, "dtype", type(person).__name__)
        raise BadModelOutput(
            f"The device's driver gave {found} instead of a map of uint8.",
            "Its driver has to answer with h x w uint8, 0 background to 255 person.",
        )
    if person.ndim != 2 or not person.size:
        raise WrongSize(
            f"The device answered with a map of shape {person.shape}.", "Its map has to be height x width."
        )
    return person
