"""The size of pictures that a network's file wants."""

from collections.abc import Sequence
from pathlib import Path

from workers.compute import Compute
from workers.errors import ModelMismatch


def size_in_file(driver: str, path: Path) -> tuple[int, int]:
    """Width and height of the input of a network, pixels; 0 where the file leaves it open.

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

    inputs = list(OnnxModel(path, Compute(providers=("cpu",))).inputs.values())
    if len(inputs) != 1:
        raise ModelMismatch(
            f"{path} has {len(inputs)} inputs ({', '.join(map(str, inputs))}).",
            "Give a network whose only input is one image.",
        )
    return _sides(path, inputs[0].shape, str(inputs[0]))


def _sides(path: Path, shape: Sequence[int | None], words: str) -> tuple[int, int]:
    """Three channels stand last, or second."""
    if len(shape) == 4 and shape[3] == 3:
        height, width = shape[1:3]
    elif len(shape) == 4 and shape[1] == 3:
        height, width = shape[2:4]
    else:
        raise ModelMismatch(
            f"The input of {path} is {words}.", "Give a network whose input is one picture of three channels."
        )
    return max(width or 0, 0), max(height or 0, 0)
