"""OpenPose's networks from the tensors of a caffemodel to an ONNX file, every tensor used exactly once."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.errors import ModelMismatch
from workers.onnx_graph import GraphWriter
from workers.pose.openpose.architecture import SKELETONS, Activation, Architecture, Conv, Step, architecture
from workers.pose.openpose.caffemodel import Tensors
from workers.pose.openpose.skeletons import Skeleton

BUILDER_VERSION = 1
"""Raised whenever the file that ``build_network`` writes changes."""
NAMED = 10
"""So many wrong tensors are named in an error."""

Shape = tuple[int, ...]


def fitted(skeleton: Skeleton, tensors: Tensors) -> Tensors:
    """The tensors of the skeleton's network, each in the shape that its layer has.

    Args:
        skeleton: whose network it is.
        tensors: as ``read_caffemodel`` gives them. An old file writes a bias as 1 x 1 x 1 x C.

    Raises:
        ModelMismatch: a tensor is missing, left over or of another shape; names the first ten, says how
            many, and of which network they are if it is another one of OpenPose's.
    """
    faults = _faults(architecture(skeleton).tensors(), tensors)
    if faults:
        others = [s for s in SKELETONS if s is not skeleton]
        known = [s.name for s in others if not _faults(architecture(s).tensors(), tensors)]
        whose = f" but of {known[0]}" if known else ""
        raise ModelMismatch(
            f"These are not the weights of OpenPose's network {skeleton.name}{whose}; {len(faults)} tensors "
            f"do not fit: {'; '.join(faults[:NAMED])}{'; ...' if len(faults) > NAMED else ''}.",
            f"Add the file to the model openpose-{known[0]}."
            if known
            else f"Give a caffemodel of the network {skeleton.name}: the published one, or one trained anew.",
        )
    shapes = architecture(skeleton).tensors()
    return {
        name: [array.reshape(shape) for array, shape in zip(tensors[name], wanted, strict=True)]
        for name, wanted in shapes.items()
    }


def _faults(wanted: dict[str, list[Shape]], tensors: Tensors) -> list[str]:
    faults = []
    for name, shapes in wanted.items():
        given = [array.shape for array in tensors.get(name, [])]
        for number, shape in enumerate(shapes):
            if number >= len(given):
                faults.append(f"{name}[{number}] {_words(shape)} is missing")
            elif not _same(given[number], shape):
                faults.append(f"{name}[{number}] is {_words(given[number])}, expected {_words(shape)}")
        faults += [f"{name}[{i}] {_words(given[i])} is left over" for i in range(len(shapes), len(given))]
    for name in (name for name in tensors if name not in wanted):
        faults += [f"{name}[{i}] {_words(array.shape)} is left over" for i, array in enumerate(tensors[name])]
    return faults


def _same(given: Shape, wanted: Shape) -> bool:
    """Old files have four sides always; the missing ones come first and are 1 (Caffe, ``ShapeEquals``)."""
    return given == wanted or (len(given) == 4 and given == (1,) * (4 - len(wanted)) + wanted)


def _words(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "single"


def build_network(
    skeleton: Skeleton, tensors: Tensors, path: Path, half: bool, notes: dict[str, str]
) -> None:
    """Writes the network as an ONNX file; the same tensors and notes give the same bytes.

    Input ``image``: float32 N x 3 x H x W, BGR, pixel / 256 - 0.5, sides multiples of 8. Outputs
    ``heatmaps`` (N x 26 x H/8 x W/8 for BODY_25, 19 channels for COCO-18; the last is the background) and
    ``pafs`` (52 or 38 channels), float32.

    Args:
        skeleton: whose network it is.
        tensors: as ``read_caffemodel`` gives them.
        path: of the file to write.
        half: compute in float16; input and outputs stay float32.
        notes: kept in the file: source, sha256, licence, citation.

    Raises:
        ModelMismatch: see ``fitted``.
    """
    table, weights = architecture(skeleton), fitted(skeleton, tensors)
    network = _Network(GraphWriter(half), weights)
    heatmaps, pafs = network.run(table)
    sides = ("n", "h", "w")
    network.graph.save(
        path,
        f"openpose_{skeleton.name}",
        {"image": (np.float32, ("n", 3, "height", "width"))},
        {
            network.graph.rename(heatmaps, "heatmaps"): (np.float32, _port(sides, skeleton.n_heatmaps)),
            network.graph.rename(pafs, "pafs"): (np.float32, _port(sides, skeleton.n_pafs)),
        },
        notes,
    )


def _port(sides: tuple[str, str, str], channels: int) -> tuple[int | str, ...]:
    return (sides[0], channels, *sides[1:])


class _Network:
    """Turns the table into nodes."""

    def __init__(self, graph: GraphWriter, weights: Tensors) -> None:
        self.graph, self._weights = graph, weights

    def run(self, table: Architecture) -> tuple[str, str]:
        """Adds all stages; the names of the two outputs, in float32."""
        half = self.graph.half
        values = {"image": self.graph.cast("image", np.float16) if half else "image"}
        for stage in table.stages:
            value = self._join([values[name] for name in stage.sees])
            for step in stage.steps:
                value = self._step(step, value)
            values[stage.name] = value
        ends = (values[table.heatmaps], values[table.pafs])
        return (self.graph.cast(ends[0], np.float32), self.graph.cast(ends[1], np.float32)) if half else ends

    def _step(self, step: Step, value: str) -> str:
        outputs = []
        for conv in step:
            value = self._conv(conv, value)
            outputs.append(value)
        return self._join(outputs)

    def _join(self, values: list[str]) -> str:
        return values[0] if len(values) == 1 else self.graph.op("Concat", *values, axis=1)

    def _conv(self, conv: Conv, value: str) -> str:
        graph, border = self.graph, conv.kernel // 2
        if conv.pooled:
            value = graph.op("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
        kernel, bias = map(graph.weights, self._weights[conv.name])
        value = graph.op("Conv", value, kernel, bias, kernel_shape=[conv.kernel] * 2, pads=[border] * 4)
        if conv.activation is Activation.RELU:
            return graph.op("Relu", value)
        if conv.activation is Activation.PRELU:
            return graph.op("PRelu", value, graph.weights(_per_channel(self._weights[conv.prelu_name][0])))
        return value


def _per_channel(slopes: NDArray[np.float32]) -> NDArray[np.float32]:
    """C slopes as C x 1 x 1, so that they meet the channels and not the columns."""
    return slopes.reshape(-1, 1, 1)
