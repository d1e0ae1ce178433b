"""The size and number of pictures that a network's file wants."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from workers.compute import Compute
from workers.errors import ModelMismatch


class InputSize(NamedTuple):
    """Of a device's input: width and height in pixels, and pictures in one call; 0 where one is open."""

    width: int
    height: int
    batch: int


def size_in_file(driver: str, path: Path) -> InputSize:
    """The size of a network's input, as its file says.

    Args:
        driver: ``litert`` or ``onnx``.
        path: of the network.

    Raises:
        MissingDependency: its runtime is not installed here.
        ModelMismatch: it is no network of that kind, or its input is no picture.
    """
    if driver == "litert":
        from workers.litert import LiteRT

        network = LiteRT(path)
        return _sides(path, network.input.shape, str(network.input))
    from workers.onnx_runtime import OnnxModel

    try:
        inputs = list(OnnxModel(path, Compute(providers=("cpu",))).inputs.values())
    except ModelMismatch as error:
        raise ModelMismatch(error.cause, "Give an .onnx file of a segmentation network, whole.") from error
    if len(inputs) != 1:
        raise ModelMismatch(
            f"{path} has {len(inputs)} inputs ({', '.join(map(str, inputs))}).",
            "Give a network whose only input is one image.",
        )
    return _sides(path, inputs[0].shape, str(inputs[0]))


def _sides(path: Path, shape: Sequence[int | None], words: str) -> InputSize:
    """Three channels stand last, or second."""
    if len(shape) == 4 and shape[3] == 3:
        height, width = shape[1:3]
    elif len(shape) == 4 and shape[1] == 3:
        height, width = shape[2:4]
    else:
        raise ModelMismatch(
            f"The input of {path} is {words}.", "Give a network whose input is one picture of three channels."
        )
    return InputSize(*(max(side or 0, 0) for side in (width, height, shape[0])))
