"""From what a device answers to the mask that is compared: the same code, wherever the answer arrives."""

import math
from dataclasses import dataclass

import numpy as np

from broker.recipe import ModelSpec
from workers.contracts import Mask, PersonMap
from workers.options import read_options, require, require_range
from workers.pictures import stretched

DEFAULT_THRESHOLD = 0.5
MAX_SIDE = 8192
REACHED = frozenset({"http", "command"})
"""Drivers that send pictures on, to an address or a command that only the device's description knows."""
CHOICES = {
    "resize": ("area", "linear"),
    "frames": ("png", "jpeg"),
    "answer": ("probability", "label"),
    "empty_masks": ("verify", "refuse"),
}


@dataclass(frozen=True)
class AnswerOptions:
    """Of a device that is sent a picture and answers with one (drivers ``http`` and ``command``).

    Attributes:
        width, height: of the picture that is sent, pixels; 0: the frame's own size.
        resize: how a frame is brought to that size, see ``workers.pictures.resized``.
        frames: as what the picture is sent, ``png`` or ``jpeg`` (quality 95, colours not subsampled).
        answer: ``probability``: 0 background to 255 person; ``label``: class numbers.
        person_label: the person's class number.
        answer_width, answer_height: of the answer, pixels; 0: as sent.
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
    threshold: float = DEFAULT_THRESHOLD
    empty_masks: str = "verify"


def answer_options(spec: ModelSpec) -> AnswerOptions:
    """The options of ``spec``, checked.

    Raises:
        SettingsError: one is unknown, of the wrong type or out of its range.
    """
    options = read_options(AnswerOptions, spec)
    for name, choices in CHOICES.items():
        value = getattr(options, name)
        require(value in choices, name, value, f"one of: {', '.join(choices)}")
    require_range(options, 0, MAX_SIDE, "width", "height", "answer_width", "answer_height")
    require_range(options, 0, 255, "person_label")
    require(0 < options.threshold < 1, "threshold", options.threshold, "a probability between 0 and 1")
    for one, other in (("width", "height"), ("answer_width", "answer_height")):
        both = bool(getattr(options, one)) == bool(getattr(options, other))
        require(both, one, getattr(options, one), f"{one} and {other} together, or neither")
    return options


def mask_of(answer: PersonMap, width: int, height: int, threshold: float) -> Mask:
    """The mask of a frame: the map brought to the frame's size (bilinear), and cut.

    Args:
        answer: h x w uint8, 0 background to 255 person, over the whole frame.
        width: of the frame, pixels.
        height: the same.
        threshold: probability in (0, 1) from which a pixel is person.
    """
    return stretched(answer, width, height) >= np.uint8(math.ceil(255 * threshold))


def threshold_of(spec: ModelSpec) -> float:
    """The option ``threshold`` of a device, or the default."""
    return float(spec.options.get("threshold", DEFAULT_THRESHOLD))
