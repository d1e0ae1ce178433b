"""From images to what a network takes in: size, colours, normalisation, layout, batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.contracts import Image
from workers.devices.network import Network, NetworkOptions, of_colours
from workers.errors import ModelMismatch
from workers.pictures import resized
from workers.tensors import Floats

LEAST_STEPS = 16
"""That pixels from 0 to 255 have to be spread over in an input of plain integers."""


@dataclass(frozen=True)
class Filled:
    """An image as a network takes it in: made beside the device, so that it does not wait.

    Attributes:
        values: height x width x 3 float32, colours in the network's order.
    """

    values: Floats


@dataclass(frozen=True)
class NetworkInput:
    """How a network wants its images. No OpenCV on this way: a device has none.

    Attributes:
        width, height: pixels.
        channels_first: N x 3 x H x W in place of N x H x W x 3.
        batch: images in each call; None: the file leaves it open.
        way: ``area`` or ``linear``, see ``workers.pictures.resized``.
        bgr: the channels are blue, green, red.
        factor, shift: 3 float32 each, of red, green and blue: the value is pixel * factor + shift.
    """

    width: int
    height: int
    channels_first: bool
    batch: int | None
    way: str
    bgr: bool
    factor: Floats
    shift: Floats

    def filled(self, image: Image) -> Filled:
        """One image (H x W x 3 uint8 RGB, of any size), ready for ``fill``; safe in any thread."""
        return Filled(self._values(image))

    def fill(self, images: Sequence[Image | Filled]) -> Floats:
        """The network's input for ``images`` (H x W x 3 uint8 RGB, of any sizes), real values.

        Where the file has a fixed batch, the last image is repeated to fill it.

        Args:
            images: at least one, and not more than ``batch``; some of them may be ``filled``.
        """
        filled = [image.values if isinstance(image, Filled) else self._values(image) for image in images]
        values = filled[0][None] if len(filled) == 1 else np.stack(filled)
        if self.batch and len(images) < self.batch:
            values = np.concatenate([values, np.repeat(values[-1:], self.batch - len(images), axis=0)])
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if self.channels_first else values)

    def _values(self, image: Image) -> Floats:
        values: Floats = resized(image, self.width, self.height, self.way).astype(np.float32, order="C")
        # A row at a time, which numpy does five times as fast as a pixel at a time, to the same bits.
        rows = values.reshape(self.height, self.width * 3)
        rows *= np.tile(self.factor, self.width)
        rows += np.tile(self.shift, self.width)
        return values[:, :, ::-1] if self.bgr else values


def network_input(network: Network, options: NetworkOptions) -> NetworkInput:
    """How ``network`` wants its images.

    Raises:
        ModelMismatch: the input is no image of three channels, its size is open and not described or
            described otherwise than it is, or it holds integers and nothing says how to fill them.
    """
    shape = network.input.shape
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise ModelMismatch(
            f"The input of {network.path} is {network.input}.",
            "Give a network whose input is batch x height x width x 3, or batch x 3 x height x width.",
        )
    # A picture of three columns is no picture: where both could be the channels, they are the last.
    channels_first = shape[3] != 3
    height, width = shape[2:] if channels_first else shape[1:3]
    factor, shift = _normalisation(options)
    _check_numbers(network, factor)
    return NetworkInput(
        width=_side(network, "width", width, options.width),
        height=_side(network, "height", height, options.height),
        channels_first=channels_first,
        batch=shape[0] if shape[0] > 0 else None,
        way=options.resize,
        bgr=options.colours == "bgr",
        factor=factor,
        shift=shift,
    )


def _normalisation(options: NetworkOptions) -> tuple[Floats, Floats]:
    """Factor and shift of red, green and blue."""
    mean, std = of_colours(options.mean, 0.0), of_colours(options.std, 1.0)
    assert mean is not None
    assert std is not None
    factor = (options.scale / np.array(std)).astype(np.float32)
    return factor, ((options.offset - np.array(mean)) / np.array(std)).astype(np.float32)


def _side(network: Network, name: str, in_file: int, described: int) -> int:
    if in_file < 1 and not described:
        raise ModelMismatch(
            f"The input of {network.path} is {network.input}: its {name} is open.",
            "Say the size that the device works on, by the options width and height.",
        )
    if in_file > 0 and described not in (0, in_file):
        raise ModelMismatch(
            f"The input of {network.path} is {network.input}, and {described} is described as its {name}.",
            f"Give a {name} of {in_file}, or none: the file says it.",
        )
    return in_file if in_file > 0 else described


def _check_numbers(network: Network, factor: Floats) -> None:
    """Pixels over 255 would become 0 and 1 in an integer input that its file gives no scale for."""
    plain = network.input.dtype.kind in "iub" and not network.input.quantised
    if plain and 255 * float(factor.max()) < LEAST_STEPS:
        raise ModelMismatch(
            f"The input of {network.path} is {network.input}, and the file does not say how it is quantised.",
            "Set scale and offset in the device's description, or in the .json beside the file: the number "
            'stored is pixel (0..255) * scale plus offset, for plain pixels {"scale": 1, "offset": 0}.',
        )
