"""What the drivers share that send a picture away and get a picture back, ``http`` and ``command``."""

from dataclasses import dataclass

from broker.errors import SettingsError
from broker.recipe import ModelSpec
from workers.devices.network import MAX_SIDE
from workers.options import read_options

CHOICES = {
    "resize": ("area", "linear"),
    "frames": ("png", "jpeg"),
    "answer": ("probability", "label"),
    "empty_masks": ("verify", "refuse"),
}


@dataclass(frozen=True)
class AnswerOptions:
    """What is sent, and how the 8-bit grey picture that comes back is read.

    Attributes:
        width, height: of what is sent, pixels; 0: the frame's own size.
        resize: how the frame is brought to that size: ``area`` averages, ``linear`` samples.
        frames: ``png``: the frame's own pixels; ``jpeg``: those after a JPEG of quality 95.
        answer: what the answer's pixels are: ``probability``, 0 for 0 to 255 for 1, or ``label``, class
            numbers.
        person_label: the person's class number.
        answer_width, answer_height: what the answer has to measure; 0: what was sent.
        threshold: probability from which a pixel is person.
        empty_masks: what an answer without a person is to the stage: ``verify`` or ``refuse``.
    """

    width: int = 0
    height: int = 0
    resize: str = "area"
    frames: str = "png"
    answer: str = "probability"
    person_label: int = 1
    answer_width: int = 0
    answer_height: int = 0
    threshold: float = 0.5
    empty_masks: str = "verify"


def answer_options(spec: ModelSpec) -> AnswerOptions:
    """The options of ``spec``, checked.

    Raises:
        SettingsError: an option is unknown, of the wrong type or out of its range.
    """
    options = read_options(AnswerOptions, spec)
    for name, choices in CHOICES.items():
        _require(getattr(options, name) in choices, spec, name, f"Give one of: {', '.join(choices)}.")
    for name in ("width", "height", "answer_width", "answer_height"):
        _require(0 <= getattr(options, name) <= MAX_SIDE, spec, name, f"Give 0 to {MAX_SIDE} pixels.")
    _require(0 <= options.person_label <= 255, spec, "person_label", "Give a class number from 0 to 255.")
    _require(0 < options.threshold < 1, spec, "threshold", "Give a probability between 0 and 1.")
    return options


def _require(holds: bool, spec: ModelSpec, name: str, remedy: str) -> None:
    if not holds:
        raise SettingsError(
            f"The option {name} of the device {spec.name} is {spec.options.get(name)!r}.", remedy
        )
