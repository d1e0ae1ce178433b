"""From what a network puts out to person maps: layout, channels, logits, class numbers, NaN."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.contracts import PersonMap
from workers.devices.errors import NotANumber, WrongSize
from workers.devices.network import Network, NetworkOptions
from workers.devices.network_input import NetworkInput
from workers.errors import ModelMismatch
from workers.tensors import Floats, Tensor, sigmoid

STRETCH = np.log(1.5)
"""Between the proportions of a picture and of its mask: a coarse mask's sides are rounded."""
OVERSHOOT = 0.5
"""A probability may leave 0..1 by this much: a linear last layer does that. Logits leave it by far more."""


@dataclass(frozen=True)
class MaskOutput:
    """The output that carries the mask, and how it is read.

    Attributes:
        tensor: as the runtime names it.
        seen: the input, whose layout and shape tell channels from rows.
        options: the description.
    """

    tensor: Tensor
    seen: NetworkInput
    options: NetworkOptions

    def person_map(self, raw: NDArray[Any]) -> PersonMap:
        """The map (h x w uint8) of one image, from its h x w [x channels] or channels x h x w real values.

        Raises:
            NotANumber: it holds NaN or infinity.
            WrongSize: the network's sizes are open, and this is no mask.
            ModelMismatch: its numbers are no probabilities, and are described as such.
        """
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise NotANumber(
                f"{np.count_nonzero(~np.isfinite(raw))} of {raw.size} numbers of the network's output "
                f"{self.tensor} are NaN or infinite.",
                "Look at the frame, and at the network's quantisation or its delegate.",
            )
        values = channels_last((1, *raw.shape), raw, self.seen, self.options)
        if values is None:
            raise WrongSize(
                f"The network's output {self.tensor} came as {'x'.join(map(str, raw.shape))}: no mask.",
                "Say another size by the options width and height.",
            )
        likely = person_probability(values, self.options)
        self._check_range(likely)
        return np.rint(255 * np.clip(likely, 0, 1)).astype(np.uint8)

    def _check_range(self, likely: Floats) -> None:
        least, most = float(likely.min()), float(likely.max())
        if least < -OVERSHOOT or most > 1 + OVERSHOOT:
            raise ModelMismatch(
                f"The network's output {self.tensor} holds numbers from {least:.3g} to {most:.3g}, and is "
                "described as a probability.",
                "Set the option output to what it is: logit, softmax or argmax.",
            )


def mask_output(network: Network, seen: NetworkInput, options: NetworkOptions) -> MaskOutput:
    """The output of ``network`` that carries the mask.

    Raises:
        ModelMismatch: none or several fit; names what was found.
    """
    fitting = [t for t in network.outputs if _fits(t, seen, options)]
    if options.output_name:
        fitting = [t for t in fitting if t.name == options.output_name]
    if len(fitting) == 1:
        _check_kind(network, fitting[0], options)
        return MaskOutput(fitting[0], seen, options)
    found = ", ".join(map(str, network.outputs))
    raise ModelMismatch(
        f"{len(fitting)} outputs of {network.path} fit the description (output={options.output!r}, "
        f"person_channel={options.person_channel}, output_name={options.output_name!r}); it has {found}.",
        "Describe the mask's output with the options output, person_channel and output_name.",
    )


def _check_kind(network: Network, tensor: Tensor, options: NetworkOptions) -> None:
    plain = tensor.dtype.kind in "iu" and not tensor.quantised and tensor.dtype != np.uint8
    if plain and options.output == "probability":
        raise ModelMismatch(
            f"The output {tensor} of {network.path} holds plain integers, which are no probabilities.",
            "Set the option output to what they are: argmax for class numbers, or logit.",
        )


def _fits(tensor: Tensor, seen: NetworkInput, options: NetworkOptions) -> bool:
    if len(tensor.shape) not in (3, 4) or tensor.shape[0] not in (seen.batch or tensor.shape[0], -1):
        return False
    if min(tensor.shape[1:]) < 0:
        return True  # what it is shows when it comes
    return channels_axis(tensor.shape, seen, options) is not None


def channels_axis(shape: tuple[int, ...], seen: NetworkInput, options: NetworkOptions) -> int | None:
    """Which axis of an output of ``shape`` (with its batch) has the channels; None if it is no mask.

    A mask has the picture's proportions: where two axes could be the channels, the one is taken that leaves
    the other two nearest to them, and of equals the one that has the input's channels. The other one is never
    taken against the proportions. An output of three axes has none: 0.
    """
    if len(shape) == 3:
        return 0 if min(shape[1:]) >= 2 and options.output != "softmax" else None
    wanted = np.log(seen.height / seen.width)
    axes = (1, 3) if seen.channels_first else (3, 1)
    likely = []
    for axis in axes:
        height, width = (n for i, n in enumerate(shape) if i not in (0, axis))
        if min(height, width) < 2 or not _has_person(shape[axis], options):
            continue
        distance = abs(np.log(height / width) - wanted)
        if axis == axes[0] or distance < STRETCH:
            likely.append((distance, axis))
    return min(likely, key=lambda pair: pair[0])[1] if likely else None


def _has_person(channels: int, options: NetworkOptions) -> bool:
    if channels == 1:
        return options.output != "softmax"
    return 0 <= options.person_channel < channels


def channels_last(
    shape: tuple[int, ...], raw: NDArray[Any], seen: NetworkInput, options: NetworkOptions
) -> NDArray[Any] | None:
    """``raw``, one image's output, as h x w x channels; None if it is no mask."""
    axis = channels_axis(shape, seen, options)
    if axis is None:
        return None
    if len(shape) == 3:
        return raw[:, :, None]
    return np.moveaxis(raw, axis - 1, -1)


def person_probability(values: NDArray[Any], options: NetworkOptions) -> Floats:
    """Float32 h x w in [0, 1] from an output h x w [x channels]; argmax gives 0 or 1.

    Unsigned 8-bit numbers that no file gives a scale for are probabilities in 255ths.
    """
    values = values if values.ndim == 3 else values[:, :, None]
    several = values.shape[2] > 1
    if options.output == "argmax":
        classes = values.argmax(axis=2) if several else np.rint(values[:, :, 0])
        chosen: Floats = (classes == options.person_channel).astype(np.float32)
        return chosen
    if values.dtype == np.uint8 and options.output == "probability":
        values = values / np.float32(255)
    values = values.astype(np.float32, copy=False)
    if options.output == "softmax":
        powers = np.exp(values - values.max(axis=2, keepdims=True))
        values = powers / powers.sum(axis=2, keepdims=True)
    person = values[:, :, options.person_channel if several else 0]
    return np.ascontiguousarray(sigmoid(person) if options.output == "logit" else person, np.float32)
