"""Matterport weights by hand: they find one person in every picture, and its mask is what is bright.

Everything is zero but one path. Brightness is cut at grey 20 in ``conv1``, halved in size by exact averages
of 2 x 2 cells before each stage of the ResNet, and carried through the pyramid in one channel for each
level. Every box is a person and is stretched over the whole window, so NMS leaves one. The mask head reads
between the 14 x 14 pooled cells and cuts at the level that fits the painted figure best.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from matterport_weights import Tensor, write_h5
from numpy.typing import NDArray

from workers.masks.matterport.architecture import (
    BATCH_NORM_EPSILON,
    COCO_CLASSES,
    MEAN_PIXEL,
    PERSON,
    Layer,
    tensor_shapes,
)

GREY, RISE = 20.0, 10.0
"""Brightness runs from 0 at this grey to 1 at 10 more."""
PERSON_LOGIT = 10.0
"""Of the class person, against 0 of the 80 others: a score of 0.996."""
STRETCH = 40.0
"""Log of the growth of every box over its deviation of 0.2: a factor of 2981, more than 1024 pixels need."""
SHARPEN, CUT, STEEPNESS = 0.5, 0.45, 8.0
"""What the mask head takes from each cell's neighbours, the brightness at which it cuts, and the slope of
its logit there. Chosen on the painted figure, whose limbs are thinner than the cells of the pyramid: the
mask's IoU with it is 0.67 to 0.71 in the middle of 1280 x 720 (at an input of 256, 512 or 1024), 0.53 at
half its size, 0.78 where it fills 720 x 1280, and at most 0.12 of its keypoints lie outside the mask."""


def write_painted(path: Path) -> Path:
    """Writes the file; it takes a few megabytes, because zeros are not written."""
    made = _Sparse()
    _brightness(made)
    _stages(made)
    _levels(made)
    made["mrcnn_class_logits", "bias"][PERSON] = PERSON_LOGIT
    made["mrcnn_bbox_fc", "bias"][4 * PERSON + 2 : 4 * PERSON + 4] = STRETCH
    _mask(made)
    return write_h5(path, made.tensor)


class _Sparse(defaultdict[tuple[str, str], NDArray[np.float32]]):
    """Tensors of the right shapes, zero until something is set in them."""

    def __init__(self) -> None:
        super().__init__()
        self._shapes = tensor_shapes(COCO_CLASSES)

    def __missing__(self, key: tuple[str, str]) -> NDArray[np.float32]:
        self[key] = np.zeros(self._shapes[key], np.float32)
        return self[key]

    def tensor(self, layer: Layer, leaf: str) -> Tensor:
        """What ``write_h5`` asks for."""
        return self.get((layer.name, leaf))

    def let_pass(self, norm: str, *channels: int) -> None:
        """Makes a batch normalisation the identity on ``channels``; it is 0 on the others."""
        for channel in channels:
            self[norm, "gamma"][channel] = 1
            self[norm, "moving_variance"][channel] = 1 - BATCH_NORM_EPSILON


def _brightness(made: _Sparse) -> None:
    """Channels 0 and 1 after ``conv1``: their difference is the brightness of 2 x 2 pixels, cut to 0..1.
    Channels 2 and 3: theirs is what is missing to 1.

    The maximum that follows keeps that true; it makes the bright wider in the first and the dark in the
    second, and the mean of both, here in channel 0 of stage 2, leaves the edges where they were. The taps
    lie inside the picture: beyond its edge is the mean pixel, which is bright.
    """
    for channel, (sign, offset) in enumerate(((1, 0), (1, -1), (-1, 1), (-1, 0))):
        made["conv1", "kernel"][3:5, 3:5, 1, channel] = sign / (4 * RISE)
        made["conv1", "bias"][channel] = sign * (MEAN_PIXEL[1] - GREY) / RISE + offset
    made.let_pass("bn_conv1", 0, 1, 2, 3)
    made["res2a_branch1", "kernel"][0, 0, 0:4, 0] = 0.5, -0.5, -0.5, 0.5
    made["res2a_branch1", "bias"][0] = 0.5


def _stages(made: _Sparse) -> None:
    """In the output of each stage, channel 0 is the brightness and channel 1 its mean over a cell and its
    neighbours to the right and below, of which the next stage takes every second one both ways.
    """
    for stage, last in ((2, "2c"), (3, "3d"), (4, "4w")):
        made.let_pass(f"bn{stage}a_branch1", 0)
        made[f"res{last}_branch2a", "kernel"][0, 0, 0, 0] = 1
        made[f"res{last}_branch2b", "kernel"][1:3, 1:3, 0, 0] = 1 / 4
        made[f"res{last}_branch2c", "kernel"][0, 0, 0, 1] = 1
        for branch, channel in (("2a", 0), ("2b", 0), ("2c", 1)):
            made.let_pass(f"bn{last}_branch{branch}", channel)
        made[f"res{stage + 1}a_branch1", "kernel"][0, 0, 1, 0] = 1
    made.let_pass("bn5a_branch1", 0)


def _levels(made: _Sparse) -> None:
    """Each lateral connection has a channel of its own, so that what comes from above does not mix in."""
    for channel, stage in enumerate((5, 4, 3, 2)):
        made[f"fpn_c{stage}p{stage}", "kernel"][0, 0, 0, channel] = 1
        made[f"fpn_p{stage}", "kernel"][1, 1, channel, 0] = 1


def _mask(made: _Sparse) -> None:
    """First sharper, then channels 0 to 3: the brightness a quarter of a cell up or down, left or right of
    each cell's centre.
    """
    sharper = np.array([-SHARPEN, 1 + 2 * SHARPEN, -SHARPEN], np.float32)
    made["mrcnn_mask_conv1", "kernel"][:, :, 0, 0] = np.outer(sharper, sharper)
    quarter = np.array([[1, 3, 0], [0, 3, 1]], np.float32) / 4
    for place in range(4):
        kernel = np.outer(quarter[place // 2], quarter[place % 2])
        made["mrcnn_mask_conv2", "kernel"][:, :, 0, place] = kernel
        for number in (3, 4):
            made[f"mrcnn_mask_conv{number}", "kernel"][1, 1, place, place] = 1
        made["mrcnn_mask_deconv", "kernel"][place // 2, place % 2, 0, place] = 1
    for number in (1, 2, 3, 4):
        made.let_pass(f"mrcnn_mask_bn{number}", *range(4))
    made["mrcnn_mask", "kernel"][0, 0, 0, PERSON] = STEEPNESS
    made["mrcnn_mask", "bias"][PERSON] = -STEEPNESS * CUT
