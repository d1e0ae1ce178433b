"""Weights made by hand: the BODY_25 network as a detector of grey discs.

conv1 turns grey into one map for each part and one for the body; conv2 removes the thin rings that the edge
of a brighter disc leaves in the maps of the greys between; conv3 and conv4 blur, so that a disc has one
highest cell; the stages hand everything on, and end with the heat maps and, inside the body, with the
direction of each limb of the figure.
"""

from collections.abc import Mapping

import numpy as np
import painted_person
from numpy.typing import NDArray

from workers.pose.openpose.caffemodel import Tensors
from workers.pose.openpose.skeletons import BODY_25

Floats = NDArray[np.float32]
Shapes = Mapping[str, tuple[tuple[int, ...], ...]]

PARTS, BODY = 25, 25
"""Maps of the parts come first, then the one of the body."""
HALF_STEP = 3.5
"""Half the distance of two parts' greys."""
RING_SHARE, MAJORITY = 0.25, 0.6
"""A pixel counts when this share of its surroundings has the grey; a cell, when so many around it count."""
GAIN = 3.0
"""Of the heat maps: a disc gives 1 or more, a small and noisy one about 0.5."""


def painted_tensors(shapes: Shapes) -> Tensors:
    """All tensors of the network, most of them 0. PReLUs let everything through."""
    tensors = {name: [np.zeros(shape, np.float32) for shape in given] for name, given in shapes.items()}
    for name in tensors:
        if "prelu" in name:
            tensors[name][0][:] = 1
    _greys(tensors)
    _discs(tensors)
    for name, share in (("conv3_1", 0.25), ("conv3_2", 0.25), ("conv4_1", 0.15)):
        _pass(tensors[name], _blur(share))
    for name in ("conv3_3", "conv3_4", "conv4_2", "conv4_3_CPM", "conv4_4_CPM"):
        _pass(tensors[name])
    for stage in ("stage3_L2", "stage1_L1"):
        for layer in (*(f"Mconv{i}_{stage}_0" for i in range(1, 6)), f"Mconv6_{stage}"):
            _pass(tensors[layer])
    _ends(tensors)
    return tensors


def _pass(layer: list[Floats], kernel: Floats | None = None) -> None:
    """The maps of the parts and the body go on, each through ``kernel``."""
    centre = layer[0].shape[2] // 2
    for channel in range(PARTS + 1):
        if kernel is None:
            layer[0][channel, channel, centre, centre] = 1
        else:
            layer[0][channel, channel] = kernel


def _blur(share: float) -> Floats:
    """A little more to one side, so that two equal cells do not stay equal."""
    line = np.array([share - 0.02, 1 - 2 * share, share + 0.02], np.float32)
    return np.outer(line, line)


def _greys(tensors: Tensors) -> None:
    """conv1_1: grey above each of 53 thresholds. conv1_2: 1 where all surroundings have a part's grey."""
    steps = [painted_person.level(0) + HALF_STEP * i for i in range(-1, 2 * PARTS)]
    kernel, bias = tensors["conv1_1"]
    for channel, threshold in enumerate([*steps, 20, 30]):
        kernel[channel, :, 1, 1] = 256 / 3
        bias[channel] = 128 - threshold
    kernel, bias = tensors["conv1_2"]
    for part in range(PARTS):
        # A tent: up from the step below the part's grey, down to the step above it.
        for step, slope in ((2 * part, 1), (2 * part + 1, -2), (2 * part + 2, 1)):
            kernel[part, step] = slope / HALF_STEP / 9
        bias[part] = -RING_SHARE
    kernel[BODY, len(steps), 1, 1], kernel[BODY, len(steps) + 1, 1, 1] = 0.1, -0.1


def _discs(tensors: Tensors) -> None:
    """conv2_1: 0 where the grey was, else 1. conv2_2: above 0 where most cells around were 0."""
    kernel, bias = tensors["conv2_1"]
    for channel in range(PARTS):
        kernel[channel, channel, 1, 1], bias[channel] = -10, 1
    kernel[BODY, BODY, 1, 1] = 1
    kernel, bias = tensors["conv2_2"]
    for channel in range(PARTS):
        kernel[channel, channel] = -1 / 9 / (1 - MAJORITY)
        bias[channel] = 1
    kernel[BODY, BODY, 1, 1] = 1


def _ends(tensors: Tensors) -> None:
    """Mconv7: the parts' maps as heat maps; for each limb its direction where the body is."""
    heat, pafs = tensors["Mconv7_stage1_L1"][0], tensors["Mconv7_stage3_L2"][0]
    for part in range(PARTS):
        heat[part, part] = GAIN
    for (x, y), direction in zip(BODY_25.paf_channels, directions(), strict=True):
        pafs[x, BODY], pafs[y, BODY] = direction[:, None, None]


def directions() -> Floats:
    """26 x 2: the mean direction of each limb over both poses of the arms, of length 1."""
    ways = []
    for arms in ("down", "up"):
        places = painted_person.relative_points(arms)
        way = np.array([places[b] - places[a] for a, b in BODY_25.pairs], np.float32)
        ways.append(way / np.linalg.norm(way, axis=1, keepdims=True))
    mean = ways[0] + ways[1]
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)
