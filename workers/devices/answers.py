"""From what a device answers to the mask that is compared: the same code, wherever the answer arrives."""

import numpy as np

from broker.recipe import ModelSpec
from workers.contracts import Mask, PersonMap
from workers.pictures import stretched

DEFAULT_THRESHOLD = 0.5


def mask_of(answer: PersonMap, width: int, height: int, threshold: float) -> Mask:
    """The mask of a frame: the map brought to the frame's size (bilinear), and cut.

    Args:
        answer: h x w uint8, 0 background to 255 person, over the whole frame.
        width: of the frame, pixels.
        height: the same.
        threshold: probability in (0, 1) from which a pixel is person.
    """
    return stretched(answer, width, height) >= np.float32(255 * threshold)


def threshold_of(spec: ModelSpec) -> float:
    """The option ``threshold`` of a device, or the default."""
    return float(spec.options.get("threshold", DEFAULT_THRESHOLD))
