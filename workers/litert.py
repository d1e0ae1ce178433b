"""A thin wrapper over LiteRT (the TensorFlow Lite runtime); the only module that imports it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from broker.errors import MissingDependency
from workers.errors import ModelMismatch

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Tensor:
    """An input or an output of a model.

    Attributes:
        name: as the file says.
        index: LiteRT's handle.
        shape: all dimensions, the batch included; -1 where the file leaves one open.
        dtype: of the stored numbers.
        scale, zero_point: real value = (stored - zero_point) * scale, for integer tensors
            (LiteRT 8-bit quantisation specification).
        quantised: whether the file gives that scale; an integer tensor without one stores plain numbers.
    """

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int
    quantised: bool = False

    def __str__(self) -> str:
        return f"{self.name} {'x'.join(map(str, self.shape))} {self.dtype}"

    def quantise(self, values: Floats) -> NDArray[Any]:
        """Real ``values`` as the numbers this tensor stores; integers are rounded and clipped."""
        if self.dtype.kind == "f":
            floats: NDArray[Any] = values.astype(self.dtype, copy=False)
            return floats
        limits = np.iinfo(self.dtype)
        stored = np.rint(values / self.scale) + self.zero_point
        clipped: NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(self.dtype)
        return clipped

    def dequantise(self, stored: NDArray[Any]) -> Floats:
        """The real values (float32) of ``stored``."""
        if self.dtype.kind == "f":
            return stored.astype(np.float32, copy=False)
        return (stored.astype(np.float32) - self.zero_point) * np.float32(self.scale)


class LiteRT:
    """One ``.tflite`` network with a single input. Not thread-safe.

    Args:
        path: of the file.
        threads: of the XNNPACK kernels; results do not depend on it.

    Raises:
        MissingDependency: the LiteRT package is not installed.
        ModelMismatch: the file is no model, needs an unknown operation, or has several inputs.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingDependency(
                f"The package ai-edge-litert, which runs {path.name}, is not installed.",
                'Install it with: pip install "hardpose[litert]".',
            ) from error
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelMismatch(
                f"{path} cannot be loaded as a LiteRT model: {error}.",
                "Give a .tflite file whose operations run on a CPU.",
            ) from error
        self.path = path
        inputs = [_tensor(details) for details in self._interpreter.get_input_details()]
        self.outputs = tuple(_tensor(details) for details in self._interpreter.get_output_details())
        if len(inputs) != 1:
            raise ModelMismatch(
                f"{path} has {len(inputs)} inputs ({', '.join(map(str, inputs))}).",
                "Give a network whose only input is one image.",
            )
        self.input = inputs[0]

    def output(self, *shape: int) -> Tensor:
        """The output of that shape; files of the same network differ in the order of their outputs.

        Raises:
            ModelMismatch: none has it, naming what was found.
        """
        for tensor in self.outputs:
            if tensor.shape == shape:
                return tensor
        raise ModelMismatch(
            f"{self.path} has no output of shape {'x'.join(map(str, shape))}; "
            f"it has {', '.join(map(str, self.outputs))}.",
            "Use the weights that the model's default description pins.",
        )

    def run(self, values: Floats, *wanted: Tensor) -> list[Floats]:
        """Runs the network on real ``values`` of the input's shape; the ``wanted`` outputs, float32."""
        self._interpreter.set_tensor(self.input.index, self.input.quantise(values))
        self._interpreter.invoke()
        return [tensor.dequantise(self._interpreter.get_tensor(tensor.index)) for tensor in wanted]


def _tensor(details: dict[str, Any]) -> Tensor:
    scale, zero_point = details["quantization"]
    # A scale of 0 is how the file format writes "not quantised".
    shape = tuple(int(side) for side in details.get("shape_signature", details["shape"]))
    return Tensor(
        name=str(details["name"]),
        index=int(details["index"]),
        shape=shape,
        dtype=np.dtype(details["dtype"]),
        scale=float(scale) or 1.0,
        zero_point=int(zero_point),
        quantised=bool(scale),
    )
