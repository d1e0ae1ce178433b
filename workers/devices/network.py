"""What the drivers share that run a network in this process: the options that its file cannot say itself."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from broker.errors import SettingsError
from broker.recipe import ModelSpec
from workers.options import read_options
from workers.tensors import Floats, Tensor

CHOICES = {
    "colours": ("rgb", "bgr"),
    "output": ("probability", "logit", "softmax", "argmax"),
    "resize": ("area", "linear"),
    "frames": ("png", "jpeg"),
    "empty_masks": ("verify", "refuse"),
}
MAX_SIDE = 8192


@dataclass(frozen=True)
class NetworkOptions:
    """What a file cannot say about itself. Its sizes, types and quantisation are read from it.

    Attributes:
        colours: order of the input's channels, ``rgb`` or ``bgr``.
        scale, offset: the input's real value is (pixel (0..255) * scale + offset - mean) / std.
        mean, std: of red, green and blue in that order, whatever ``colours`` is: three numbers, such as
            ``0.485 0.456 0.406``, or one for all; empty: 0 and 1.
        resize: how the frame is brought to the input's size: ``area`` averages, ``linear`` samples.
        output: ``probability``, ``logit`` (sigmoid follows), ``softmax`` (over two or more channels of
            logits), or ``argmax`` (the largest channel; with one channel: class numbers).
        person_channel: the person's channel, or class number, when there are several.
        threshold: probability from which a pixel is person.
        output_name: which output is the mask, when several could be.
        width, height: of the input in pixels, where the file leaves them open; 0: as the file says.
        frames: ``png``: the frame's own pixels; ``jpeg``: those after a JPEG, wherever the device is.
            The stage sees to it.
        empty_masks: what an answer without a person is to the stage: ``verify`` or ``refuse``.
        delegate: the name and the options of LiteRT's delegate: another one computes another mask. Which
            library is loaded says the device's own description.
    """

    colours: str = "rgb"
    scale: float = 1 / 255
    offset: float = 0.0
    mean: str = ""
    std: str = ""
    resize: str = "area"
    output: str = "probability"
    person_channel: int = 1
    threshold: float = 0.5
    output_name: str = ""
    width: int = 0
    height: int = 0
    frames: str = "png"
    empty_masks: str = "verify"
    delegate: str = ""


class Network(Protocol):
    """A network with one input, on whichever runtime. Not thread-safe."""

    path: Path
    input: Tensor
    outputs: tuple[Tensor, ...]

    def run(self, values: Floats, *wanted: Tensor) -> list[NDArray[Any]]:
        """The ``wanted`` outputs, as real values, for an input of real values."""
        ...


def network_options(spec: ModelSpec) -> NetworkOptions:
    """The options of ``spec``, checked.

    Raises:
        SettingsError: an option is unknown, of the wrong type or out of its range.
    """
    options = read_options(NetworkOptions, spec)
    for name, choices in CHOICES.items():
        _require(getattr(options, name) in choices, spec, name, f"Give one of: {', '.join(choices)}.")
    _require(0 < options.threshold < 1, spec, "threshold", "Give a probability between 0 and 1.")
    for name in ("scale", "offset"):
        _require(math.isfinite(getattr(options, name)), spec, name, "Give a number.")
    for name in ("width", "height"):
        _require(0 <= getattr(options, name) <= MAX_SIDE, spec, name, f"Give 0 to {MAX_SIDE} pixels.")
    _require(of_colours(options.mean, 0.0) is not None, spec, "mean", _THREE)
    std = of_colours(options.std, 1.0)
    _require(std is not None and min(std) > 0, spec, "std", f"{_THREE} Each has to be above 0.")
    return options


_THREE = "Give three numbers, of red, green and blue, or one for all, as in 0.485 0.456 0.406."


def of_colours(text: str, default: float) -> tuple[float, float, float] | None:
    """The numbers of red, green and blue that ``text`` gives; None if it is no such text."""
    try:
        numbers = [float(word) for word in text.split()] or [default]
    except ValueError:
        return None
    if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        return None
    return (numbers[0], numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2])


def _require(holds: bool, spec: ModelSpec, name: str, remedy: str) -> None:
    if not holds:
        raise SettingsError(
            f"The option {name} of the device {spec.name} is {spec.options.get(name)!r}.", remedy
        )
