"""Before a device is given work: is its description right, and if not, which line of it is wrong?"""

import time
from dataclasses import dataclass
from typing import cast

import numpy as np

from workers.contracts import Device, PersonMap
from workers.devices import known_picture
from workers.devices.answers import threshold_of
from workers.devices.description import DeviceDescription
from workers.devices.errors import DeviceAway, DeviceFault, TooLate, UnreadableAnswer, WrongSize
from workers.devices.known_picture import LEAST_IOU, KnownPicture
from workers.devices.misreading import better_fits, explain
from workers.errors import DelegateFailed, ImageFailed, ModelMismatch

_REACHED_BY = {"http": "http.url", "command": "command.run"}


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
        answer = _asked(device, description, known, 1)[0]
    except DelegateFailed as error:
        raise description.wrong("network.delegate", error.cause, error.remedy) from error
    except ModelMismatch as error:
        raise explain(device, description, None, error) from error
    except DeviceFault as error:
        raise _fault(device, description, error) from error
    iou = known.iou(answer, threshold)
    if iou < LEAST_IOU:
        raise explain(device, description, answer)
    batch = max(description.batch, 1)
    started = time.perf_counter()
    try:
        answers = _asked(device, description, known, batch)
    except DeviceFault as error:
        raise _fault(device, description, error) from error
    spent = time.perf_counter() - started
    _check_batch(description, answers, known)
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
    )


def _asked(
    device: Device, description: DeviceDescription, known: KnownPicture, batch: int
) -> list[PersonMap]:
    """The answers to ``batch`` times the known picture. A fault is asked again once: a first call warms up.

    Raises:
        DeviceMisdescribed: they take longer than the description's time limit.
        DeviceFault: it answers badly, the second time too.
        DeviceAway: the driver fails, the second time too.
    """
    for again in (True, False):
        started = time.monotonic()
        try:
            answers = device.maps([known.picture] * batch)
        except DeviceFault:
            if not again:
                raise
            continue
        except (RuntimeError, OSError) as error:  # a delegate that fails, a wire that breaks
            if not again:
                raise _away(description, f"{type(error).__name__}: {error}.", "Look at its log.") from error
            continue
        if time.monotonic() - started <= description.time_limit or not again:
            break
    spent = time.monotonic() - started
    if spent > description.time_limit:
        raise _too_slow(description, f"{batch} picture(s) took {spent:.2f} s")
    return answers


def _too_slow(description: DeviceDescription, what: str) -> Exception:
    return description.wrong(
        "time_limit",
        f"{description.time_limit:g} seconds stand there, and {what}.",
        "Give the device more time, or fewer pictures a call (batch).",
    )


def _check_batch(description: DeviceDescription, answers: list[PersonMap], known: KnownPicture) -> None:
    threshold = threshold_of(description.spec)
    worst = min(known.iou(answer, threshold) for answer in answers)
    if worst < LEAST_IOU:
        raise description.wrong(
            "batch",
            f"{description.batch} stands there; one picture alone comes back right, and of {len(answers)} in "
            f"one call one has an IoU of {worst:.2f} with its mask.",
            "Give 1.",
        )


def _fault(device: Device, description: DeviceDescription, error: ImageFailed) -> Exception:
    """What an unusable answer to the known picture says of the description."""
    if isinstance(error, TooLate):
        return _too_slow(description, error.cause[:1].lower() + error.cause[1:].rstrip("."))
    section = description.spec.name
    if isinstance(error, WrongSize) and section in ("http", "command"):
        return description.wrong(f"{section}.answer_size", error.cause, error.remedy)
    if isinstance(error, UnreadableAnswer):
        return description.wrong(
            {"http": "http.url"}.get(section, f"{section}.run"), error.cause, error.remedy
        )
    if description.model is not None:
        return explain(device, description, None, cast(DeviceFault, error))
    return _away(description, error.cause, error.remedy)


def _away(description: DeviceDescription, why: str, remedy: str) -> DeviceAway:
    return DeviceAway(
        f"The device {description.name} gives no usable answer to the known picture: {why}", remedy
    )
