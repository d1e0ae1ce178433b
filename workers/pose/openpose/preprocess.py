"""Frames as OpenPose's networks want them, and the scale of the way back (its ``--net_resolution``)."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from workers.contracts import Image
from workers.errors import ImageFailed
from workers.pose.geometry import Floats

SIDE = 16
"""The network's sides are multiples of this (OpenPose documentation)."""
WIDEST = 8192
"""Largest width of a network, in pixels; only a picture 22 times as wide as high comes near it."""


@dataclass(frozen=True)
class Prepared:
    """Frames of one size, ready for the network.

    Attributes:
        images: N x 3 x H x W float32, BGR, pixel / 256 - 0.5, the frame at the top left, the rest black.
        to_frame: pixels of the frame for one pixel of the network's input.
    """

    images: Floats
    to_frame: float

    @property
    def net_size(self) -> tuple[int, int]:
        """Width and height of the network's input."""
        return self.images.shape[3], self.images.shape[2]


def network_size(width: int, height: int, net_height: int, max_net_width: int) -> tuple[int, int]:
    """Width and height of the network's input for a frame of ``width`` x ``height``.

    The width follows the frame's shape, rounded to a multiple of 16; 1280 x 720 at 368 gives 656 x 368.

    Args:
        width: of the frame.
        height: of the frame.
        net_height: multiple of 16.
        max_net_width: multiple of 16; 0 for no limit.

    Raises:
        ImageFailed: without a limit the network would be wider than 8192 pixels.
    """
    wanted = max(SIDE, SIDE * int(net_height * width / height / SIDE + 0.5))
    net_width = min(wanted, max_net_width) if max_net_width else wanted
    if net_width > WIDEST:
        raise ImageFailed(
            f"A picture of {width} x {height} pixels wants a network {net_width} pixels wide.",
            f"Give the option max_net_width a value up to {WIDEST}.",
        )
    return net_width, net_height


def prepare(images: Sequence[Image], net_height: int, max_net_width: int) -> Prepared:
    """Scales frames into the network's input, their shape kept.

    The image is scaled by s = min((W - 1) / (w - 1), (H - 1) / (h - 1)) about its first pixel, bicubic
    when it grows, bilinear when it shrinks; OpenPose asks for area averaging there, which ``warpAffine``
    does not have and reads as bilinear.

    Args:
        images: at least one, H x W x 3 uint8 RGB, all of one size.
        net_height: see ``network_size``.
        max_net_width: likewise.

    Raises:
        ImageFailed: see ``network_size``.
    """
    height, width = images[0].shape[:2]
    net_width, net_height = network_size(width, height, net_height, max_net_width)
    scale = _scale(width, height, net_width, net_height)
    matrix = np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
    flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
    prepared = np.empty((len(images), 3, net_height, net_width), np.float32)
    for image, room in zip(images, prepared, strict=True):
        scaled = cv2.warpAffine(image, matrix, (net_width, net_height), flags=flags)
        room[:] = scaled[:, :, ::-1].transpose(2, 0, 1)  # RGB to BGR
    prepared *= np.float32(1 / 256)
    prepared -= np.float32(0.5)
    scaled_width, scaled_height = int(scale * width + 0.5), int(scale * height + 0.5)
    return Prepared(prepared, _scale(scaled_width, scaled_height, width, height))


def _scale(width: int, height: int, to_width: int, to_height: int) -> float:
    """The largest scale at which all pixels, measured between centres, fit.

    A side of one pixel has no distance between centres; it counts as one, so that the scale is never 0.
    """
    return min(max(1, to_width - 1) / max(1, width - 1), max(1, to_height - 1) / max(1, height - 1))
