"""A device emulated on this machine: any ONNX segmentation network, on ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from broker.recipe import ModelSpec
from workers.compute import Compute
from workers.devices.in_process import InProcessDevice
from workers.errors import ModelMismatch
from workers.onnx_runtime import OnnxModel, Port
from workers.tensors import Floats, Tensor

DTYPES = {
    "float": "float32", "float16": "float16", "double": "float64", "bool": "bool", "uint8": "uint8",
    "int8": "int8", "uint16": "uint16", "int16": "int16", "int32": "int32", "int64": "int64",
}  # fmt: skip
"""ONNX Runtime's names of element types, and numpy's."""


class OnnxNetwork:
    """One ONNX network with a single input. Implements ``workers.devices.network.Network``.

    Args:
        path: of the file.
        compute: providers and threads.

    Raises:
        MissingDependency, NoProvider, OutOfMemory: see ``OnnxModel``.
        ModelMismatch: the file cannot be run, has several inputs, or one of a type that no image has.
    """

    def __init__(self, path: Path, compute: Compute) -> None:
        self._model = OnnxModel(path, compute)
        self.path = path
        inputs = list(self._model.inputs.values())
        if len(inputs) != 1:
            raise ModelMismatch(
                f"{path} has {len(inputs)} inputs ({', '.join(map(str, inputs))}).",
                "Give a network whose only input is one image.",
            )
        if inputs[0].dtype not in DTYPES:
            raise ModelMismatch(
                f"The input of {path} is {inputs[0]}.",
                f"Give a network whose input is one of {', '.join(DTYPES)}.",
            )
        self.input = _tensor(0, inputs[0])
        ports = enumerate(self._model.outputs.values())
        self.outputs = tuple(_tensor(i, port) for i, port in ports if port.dtype in DTYPES)

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self._model.on_gpu

    def run(self, values: Floats, *wanted: Tensor) -> list[NDArray[Any]]:
        """The ``wanted`` outputs for an input of real values; floating point ones as float32.

        Raises:
            OutOfMemory, ModelMismatch: see ``OnnxModel.run``.
        """
        feeds = {self.input.name: self.input.quantise(values)}
        found = self._model.run(feeds, *(tensor.name for tensor in wanted))
        return [tensor.dequantise(stored) for tensor, stored in zip(wanted, found, strict=True)]


class OnnxDevice(InProcessDevice):
    """Draws masks with an ``.onnx`` file; see ``InProcessDevice``. It has no network of its own."""

    only_described = True

    @classmethod
    def default_spec(cls) -> ModelSpec:
        """No network: the user names his in a description."""
        return ModelSpec(name="onnx", version="described")

    @property
    def on_gpu(self) -> bool:
        """Whether its network runs on a GPU; loads it."""
        network = self.network()
        return isinstance(network, OnnxNetwork) and network.on_gpu

    def _open(self, path: Path) -> OnnxNetwork:
        return OnnxNetwork(path, self._compute)


def _tensor(index: int, port: Port) -> Tensor:
    shape = tuple(-1 if side is None else side for side in port.shape)
    return Tensor(port.name, index, shape, np.dtype(DTYPES[port.dtype]))
