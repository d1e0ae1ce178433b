"""What Mask R-CNN says about one image, whatever runtime ran it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """The instances of one image, best score first; D may be 0.

    Attributes:
        boxes: D x 4 float32: y1, x1, y2, x2 in the network's square input, normalised as
            ``anchors.normalised`` does, inside the window and with an area above 0.
        class_ids: D int64; 1 is person.
        scores: D float32 in [0, 1].
        masks: D x 28 x 28 float32 in [0, 1], of the detected class, over the box.
    """

    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    masks: NDArray[np.float32]
