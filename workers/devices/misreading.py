"""Which line of a description is wrong, told by what would be right in its place."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from broker.errors import HardposeError
from broker.settings import Plain
from workers.contracts import Device, PersonMap
from workers.devices import known_picture
from workers.devices.answer_readings import AnswerReadings
from workers.devices.answers import threshold_of
from workers.devices.described_spec import SECTIONS
from workers.devices.description import DeviceDescription
from workers.devices.errors import DeviceMisdescribed
from workers.devices.in_process import InProcessDevice
from workers.devices.network import network_options
from workers.devices.readings import Fit, Readings
from workers.errors import ModelMismatch

REACHED_BY = {"http": "http.url", "command": "command.run"}
"""The line that says where a device is."""
_TOP_LEVEL = ("resize", "frames", "threshold", "empty_masks", "input")
_SIZES = {"width": "input", "height": "input", "answer_width": "answer_size", "answer_height": "answer_size"}
_TASTE = frozenset({"threshold", "resize", "output_name"})
"""Options whose other values are another device, not a mistake, as long as the mask is good."""
CLEARLY, LEFT = 0.05, 0.6
"""By so much of IoU, and with at most so much of the error left, another reading is clearly better. Wrong
colours or another usual scale cost the embedded student 0.06 to 0.17 of its 0.92 on the known picture."""
TURNED = 0.15
"""Of IoU, by which a mask that is turned round is better than as it came: it is no accident."""
HURRY = 5.0
"""Seconds in which another reading of a good description is looked for, at every start."""


def explain(
    device: Device,
    description: DeviceDescription,
    answer: PersonMap | None,
    refused: HardposeError | None = None,
) -> DeviceMisdescribed:
    """The error to raise about a device that does not draw the known picture's person.

    Args:
        device: opened, as described.
        description: of it.
        answer: what it said; None when that could not be read.
        refused: why not.
    """
    try:
        search = _search(device, description, answer)
    except ModelMismatch as error:
        return description.wrong("network.model", error.cause, error.remedy)
    seen = f"{refused.cause[:1].lower()}{refused.cause[1:].rstrip('.')}" if refused is not None else ""
    if answer is not None:
        iou = known_picture.of(description).iou(answer, threshold_of(description.spec))
        seen = f"the device's mask of the known picture has an IoU of {iou:.2f} with the right one"
    for tried in (search.alone, search.in_pairs) if search else ():
        fits = tried()
        if fits and fits[0].iou >= known_picture.LEAST_IOU:
            return _wrong_line(description, fits, seen)
    remedy = refused.remedy if refused is not None else (
        "Look at the network: its answer has to be, for each pixel, how likely a person is there."
    )  # fmt: skip
    where = description.place("network.model") if description.model else str(description.path)
    notes = [f"{where}: {seen}, and no other value of one or two lines explains it."]
    notes += [_looks(answer, description)] if answer is not None else []
    notes += ["Not every value was tried: the network is too slow."] if search and search.exhausted else []
    return DeviceMisdescribed(" ".join(notes), remedy)


def turned(description: DeviceDescription, answer: PersonMap, iou: float) -> DeviceMisdescribed | None:
    """The error that a mask comes back mirrored, upside down or with rows for columns; None if it does not.

    Half of a person may still be hit then: a mirrored mask of the known picture has an IoU of 0.55.

    Args:
        description: of the device.
        answer: to the known picture.
        iou: of it with the mask.
    """
    known, threshold = known_picture.of(description), threshold_of(description.spec)
    ways = {"mirrored": answer[:, ::-1], "upside down": answer[::-1], "turned by 180°": answer[::-1, ::-1]}
    if answer.shape[0] == answer.shape[1]:
        ways["with rows and columns exchanged"] = answer.T
    fits = {way: known.iou(np.ascontiguousarray(other), threshold) for way, other in ways.items()}
    best = max(fits, key=lambda way: fits[way])
    if fits[best] < max(iou + TURNED, known_picture.LEAST_IOU):
        return None
    return description.wrong(
        REACHED_BY.get(description.spec.name, "network.model"),
        f"the mask comes back {best}: it has an IoU of {iou:.2f} with the right one, and turned back "
        f"{fits[best]:.2f}.",
        "Let what draws it write its rows from top to bottom and each from left to right.",
    )


def better_fits(device: Device, description: DeviceDescription, iou: float) -> list[str]:
    """Of a description that is good enough, which line would be clearly better otherwise; in words."""
    if not isinstance(device, InProcessDevice):
        return []
    fits = Readings(
        device.network(), network_options(description.spec), known_picture.of(description), HURRY
    ).alone()
    better = [
        fit for fit in fits
        if fit.iou >= iou + CLEARLY and 1 - fit.iou <= LEFT * (1 - iou) and not _TASTE & fit.changes.keys()
    ]  # fmt: skip
    return [
        f"{_places(description, fit)}: {_stands(description, fit)}, and the known picture comes back with "
        f"an IoU of {iou:.2f}; with {_in_toml(fit.changes)} it is {fit.iou:.2f}."
        for fit in better[:1]
    ]


def _search(
    device: Device, description: DeviceDescription, answer: PersonMap | None
) -> Readings | AnswerReadings | None:
    if isinstance(device, InProcessDevice):
        known = known_picture.of(description)
        return Readings(device.network(), network_options(description.spec), known)
    if answer is None or description.spec.name not in SECTIONS:
        return None
    return AnswerReadings(description, answer)


def _wrong_line(description: DeviceDescription, fits: Sequence[Fit], seen: str) -> DeviceMisdescribed:
    """The error of the best of ``fits``, which come best first; its remedy names an equal one as well."""
    best = fits[0]
    if best.inverted:
        key = "output" if description.model else "answer"
        return description.wrong(
            _key(description, key),
            f"{seen}; with person and background exchanged it is {best.iou:.2f}.",
            "Name the person's channel or class number, or let the device put out the person's probability.",
        )
    equal = [fit for fit in fits[1:] if fit.iou > best.iou - 0.01 and not fit.inverted]
    other = [fit for fit in equal if not fit.changes.keys() & best.changes.keys()][:1]
    ways = [f"with {_in_toml(fit.changes)} the IoU is {fit.iou:.2f}" for fit in (best, *other)]
    text = ", or ".join(ways)
    return DeviceMisdescribed(
        f"{_places(description, best)}: {_stands(description, best)}, and {seen}.", f"W{text[1:]}."
    )


def _looks(answer: PersonMap, description: DeviceDescription) -> str:
    if answer.min() == answer.max():
        return f"The answer is constant: {answer.min() / 255:.2f} everywhere."
    share = np.mean(answer >= np.float32(255 * threshold_of(description.spec)))
    right = known_picture.of(description).share
    return (
        f"Of the answer {share:.0%} is person ({100 * right:.0f} % would be right); its probabilities go "
        f"from {answer.min() / 255:.2f} to {answer.max() / 255:.2f}."
    )


def _places(description: DeviceDescription, fit: Fit) -> str:
    """Where the changed options stand; those that are not given only when none is."""
    keys = list(dict.fromkeys(_key(description, name) for name in _named(description, fit)))
    given = [key for key in keys if key in description.lines]
    first, *others = map(description.place, given or keys[:1])
    return " and ".join([first, *(each.removeprefix(f"{description.path}, ") for each in others)])


def _stands(description: DeviceDescription, fit: Fit) -> str:
    names = _named(description, fit)
    values = {name: description.spec.options[name] for name in names}
    words = _in_toml({name: value for name, value in values.items() if value != ""} or values)
    if not any(_key(description, name) in description.lines for name in names):
        return f"the default is {words}"
    return f"{words} {'stands' if len(names) == 1 else 'stand'} there"


def _named(description: DeviceDescription, fit: Fit) -> list[str]:
    options = description.spec.options
    return [name for name, value in fit.changes.items() if options[name] != value]


def _key(description: DeviceDescription, option: str) -> str:
    name = _SIZES.get(option, option)
    return name if name in _TOP_LEVEL else f"{SECTIONS[description.spec.name]}.{name}"


def _in_toml(options: Mapping[str, Plain]) -> str:
    """Options as lines of a ``me.toml``, parted by commas."""
    return ", ".join(
        f"no {name}" if name in ("mean", "std") and not value else f"{name} = {_value(name, value)}"
        for name, value in options.items()
    )


def _value(name: str, value: Plain) -> str:
    if name in ("mean", "std") and isinstance(value, str):
        return f"[{', '.join(value.split())}]"
    return json.dumps(value)
