"""Before a device is given work: is its description right, and if not, which line of it is wrong?"""

import time
from dataclasses import dataclass

import numpy as np

from workers.contracts import Device, Image, PersonMap
from workers.devices import known_picture
from workers.devices.answers import threshold_of
from workers.devices.description import DeviceDescription
from workers.devices.errors import (
    DeviceAway,
    DeviceFault,
    NothingServed,
    NothingThere,
    ServerRefuses,
    TooLate,
    UnreadableAnswer,
    WrongSize,
)
from workers.devices.known_picture import LEAST_IOU, KnownPicture
from workers.devices.misreading import REACHED_BY, better_fits, explain, turned
from workers.errors import DelegateFailed, ModelMismatch

WARM_UP_SECONDS = 60.0
"""For a device behind an address or a command, which may load its network at its first picture."""


@dataclass(frozen=True)
class SelfTest:
    """How a device did on the known picture.

    Attributes:
        name, firmware, driver: of the description.
        iou: of its mask with the known one, in [0, 1], at least 0.5.
        share: of the picture that it calls person, in [0, 1]; of the embedded one 0.10 is right.
        milliseconds: for one picture, in a call of ``batch`` pictures after a first one.
        batch: pictures in that call.
        answer_width, answer_height: of its answer, pixels.
        warnings: other values of a line that would do clearly better; in words, one for each line.
        on_gpu: whether its network runs on a GPU of this machine.
    """

    name: str
    firmware: str
    driver: str
    iou: float
    share: float
    milliseconds: float
    batch: int
    answer_width: int
    answer_height: int
    warnings: tuple[str, ...] = ()
    on_gpu: bool = False


def self_test(device: Device, description: DeviceDescription) -> SelfTest:
    """Shows ``device`` the known picture, first alone, then as a full batch.

    Args:
        device: from ``open_described``; it is loaded here.
        description: of it.

    Raises:
        DeviceMisdescribed: names the line that is wrong, what stands there and what would be right; or says
            that no line explains it.
        DeviceAway: it does not answer, or not usably.
        MissingDependency, WeightsError: see the driver's ``load``.
    """
    known, threshold = known_picture.of(description), threshold_of(description.spec)
    try:
        device.load()
        warm_up = WARM_UP_SECONDS if description.spec.name in REACHED_BY else 0.0
        answer = _asked(device, description, known, 1, warm_up)[0]
    except DelegateFailed as error:
        raise description.wrong("network.delegate", error.cause, error.remedy) from error
    except ModelMismatch as error:
        raise explain(device, description, None, error) from error
    except DeviceFault as error:
        raise _fault(device, description, error) from error
    iou = known.iou(answer, threshold)
    if (turn := turned(description, answer, iou)) is not None:
        raise turn
    if iou < LEAST_IOU:
        raise explain(device, description, answer)
    started = time.perf_counter()
    batch = len(_full_batch(device, description, known))
    spent = time.perf_counter() - started
    return SelfTest(
        name=description.name,
        firmware=description.firmware,
        driver=description.spec.name,
        iou=round(iou, 4),
        share=round(float(np.mean(answer >= np.float32(255 * threshold))), 4),
        milliseconds=round(1000 * spent / batch, 2),
        batch=batch,
        answer_width=answer.shape[1],
        answer_height=answer.shape[0],
        warnings=tuple(better_fits(device, description, iou)),
        on_gpu=bool(getattr(device, "on_gpu", False)),
    )


def _asked(
    device: Device, description: DeviceDescription, known: KnownPicture, count: int, warm_up: float = 0.0
) -> list[PersonMap]:
    """The answers to ``count`` times the known picture. A fault is asked again once: a first call warms up.

    Args:
        device: loaded.
        description: of it.
        known: what it is shown.
        count: of pictures in one call.
        warm_up: seconds in which answers may come too late, and it is asked again.

    Raises:
        DeviceFault: it answers badly, or too late, the second time too.
        DeviceAway: the driver fails, the second time too.
    """
    began, failed = time.monotonic(), False
    while True:
        try:
            return _in_time(device, description, [known.picture] * count)
        except (DeviceFault, RuntimeError, OSError) as error:
            warming = isinstance(error, TooLate) and time.monotonic() - began < warm_up
            if failed and not warming:
                if isinstance(error, DeviceFault):
                    raise
                # A delegate that fails, a wire that breaks.
                raise _away(description, f"{type(error).__name__}: {error}.", "Look at its log.") from error
            failed = True


def _in_time(device: Device, description: DeviceDescription, images: list[Image]) -> list[PersonMap]:
    """The answers to ``images``.

    Raises:
        TooLate: of a driver that does not look at the time itself.
    """
    started = time.monotonic()
    answers = device.maps(images)
    spent = time.monotonic() - started
    if spent > description.time_limit:
        raise TooLate(f"{len(images)} picture(s) took {spent:.2f} s.", "Raise time_limit.")
    return answers


def _too_slow(description: DeviceDescription, what: str) -> Exception:
    return description.wrong(
        "time_limit",
        f"{description.time_limit:g} seconds stand there, and {what}.",
        "Give the device more time, or fewer pictures a call (batch).",
    )


def _full_batch(device: Device, description: DeviceDescription, known: KnownPicture) -> list[PersonMap]:
    """The answers to as many pictures as the device is asked for at once; each is right.

    Raises:
        DeviceMisdescribed, DeviceAway: see ``self_test``.
    """
    try:
        answers = _asked(device, description, known, description.batch)
    except (DeviceFault, ModelMismatch) as error:
        if description.batch > 1 and not isinstance(error, TooLate):
            raise _batch_fails(description, error.cause.rstrip(".")) from error
        raise _fault(device, description, error) from error
    threshold = threshold_of(description.spec)
    worst = min(known.iou(answer, threshold) for answer in answers)
    if worst < LEAST_IOU:
        raise _batch_fails(description, f"of {len(answers)} one has an IoU of {worst:.2f} with its mask")
    return answers


def _batch_fails(description: DeviceDescription, what: str) -> Exception:
    return description.wrong(
        "batch",
        f"{description.batch} stands there; one picture alone comes back right, and in one call they do not: "
        f"{what}.",
        "Give 1.",
    )


def _fault(device: Device, description: DeviceDescription, error: DeviceFault | ModelMismatch) -> Exception:
    """What an unusable answer to the known picture says of the description."""
    if isinstance(error, TooLate):
        return _too_slow(description, error.cause[:1].lower() + error.cause[1:].rstrip("."))
    section = description.spec.name
    if isinstance(error, ServerRefuses):
        wrong = description.wrong(error.key, error.cause, error.remedy)
        return NothingServed(wrong.cause, wrong.remedy) if isinstance(error, NothingThere) else wrong
    if isinstance(error, WrongSize) and section in REACHED_BY:
        return description.wrong(f"{section}.answer_size", error.cause, error.remedy)
    if isinstance(error, UnreadableAnswer):
        return description.wrong(REACHED_BY.get(section, "driver"), error.cause, error.remedy)
    if description.model is not None:
        return explain(device, description, None, error)
    return _away(description, error.cause, error.remedy)


def _away(description: DeviceDescription, why: str, remedy: str) -> DeviceAway:
    return DeviceAway(
        f"The device {description.name} gives no usable answer to the known picture: {why}", remedy
    )
