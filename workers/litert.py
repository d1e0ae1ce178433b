"""A thin wrapper over LiteRT (the TensorFlow Lite runtime); the only module that imports it."""

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from broker.errors import MissingDependency
from workers.errors import DelegateFailed, ModelMismatch
from workers.tensors import Floats, Tensor


@dataclass(frozen=True)
class Delegate:
    """A shared library that runs (a part of) a network on an NPU, a DSP or a GPU.

    Attributes:
        library: its path, or a name that the system's loader finds, such as ``libedgetpu.so.1``.
        options: for it, as its documentation says.
    """

    library: str
    options: dict[str, str] = field(default_factory=dict)


class LiteRT:
    """One ``.tflite`` network with a single input. Not thread-safe.

    Args:
        path: of the file.
        threads: of the XNNPACK kernels; results do not depend on it.
        delegate: for the operations that it takes; XNNPACK has all others.

    Raises:
        MissingDependency: the LiteRT package is not installed.
        DelegateFailed: the delegate is not there, is none, or cannot take the network.
        ModelMismatch: the file is no model, needs an unknown operation, or has several inputs.
    """

    def __init__(self, path: Path, threads: int = 1, delegate: Delegate | None = None) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingDependency(
                f"The package ai-edge-litert, which runs {path.name}, is not installed.",
                'Install it with: pip install "hardpose[litert]".',
            ) from error
        self.path = path
        loaded = None if delegate is None else [_load_delegate(delegate)]
        try:
            self._interpreter = Interpreter(
                model_path=str(path), num_threads=threads, experimental_delegates=loaded
            )
            self._allocate()
        except (ValueError, RuntimeError) as error:
            if delegate is not None:
                why = " ".join(str(error).split())
                raise _refused(delegate, f"cannot take {path.name}: {why}") from error
            raise ModelMismatch(
                f"{path} cannot be loaded as a LiteRT model: {error}.",
                "Give a .tflite file whose operations run on a CPU.",
            ) from error
        inputs = [_tensor(details) for details in self._interpreter.get_input_details()]
        self.outputs = tuple(_tensor(details) for details in self._interpreter.get_output_details())
        if len(inputs) != 1:
            raise ModelMismatch(
                f"{path} has {len(inputs)} inputs ({', '.join(map(str, inputs))}).",
                "Give a network whose only input is one image.",
            )
        self.input = inputs[0]

    def _allocate(self) -> None:
        self._interpreter.allocate_tensors()
        (*_, details) = self._interpreter.get_input_details()
        self._shape = tuple(int(side) for side in details["shape"])

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

    def run(self, values: Floats, *wanted: Tensor) -> list[NDArray[Any]]:
        """Runs the network on real ``values`` of the input's shape; the ``wanted`` outputs, as real values.

        Raises:
            ModelMismatch: the network cannot be run on that shape.
        """
        try:
            self._fit(values.shape)
            self._interpreter.set_tensor(self.input.index, self.input.quantise(values))
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ModelMismatch(
                f"{self.path} cannot be run on {'x'.join(map(str, values.shape))}: {error}.",
                f"Its input is {self.input}: give it that.",
            ) from error
        return [tensor.dequantise(self._interpreter.get_tensor(tensor.index)) for tensor in wanted]

    def _fit(self, shape: tuple[int, ...]) -> None:
        """Gives the sides that the file leaves open their size; memory is allocated anew for a new one."""
        if shape != self._shape and -1 in self.input.shape:
            self._interpreter.resize_tensor_input(self.input.index, shape, strict=True)
            self._allocate()


def _load_delegate(delegate: Delegate) -> Any:
    from ai_edge_litert.interpreter import load_delegate

    try:
        # LiteRT would leave half an object behind, which complains when it is collected.
        library = ctypes.CDLL(delegate.library)
        _ = library.tflite_plugin_create_delegate, library.tflite_plugin_destroy_delegate
    except OSError as error:
        raise _refused(delegate, f"cannot be loaded: {error}") from error
    except AttributeError as error:
        raise _refused(delegate, "is no LiteRT delegate: it has no tflite_plugin_create_delegate") from error
    try:
        return load_delegate(delegate.library, delegate.options)
    except (ValueError, RuntimeError) as error:
        raise _refused(delegate, f"did not start: {' '.join(str(error).split())}") from error


def _refused(delegate: Delegate, why: str) -> DelegateFailed:
    options = ", ".join(f"{name}={value}" for name, value in delegate.options.items()) or "none"
    return DelegateFailed(
        f"The delegate {delegate.library} {why.rstrip('.')} (its options: {options}).",
        "Install the delegate that the NPU's vendor gives for this machine and this release of LiteRT, with "
        "the options that he names; or leave the line `delegate` out of the description: the CPU takes over.",
    )


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
