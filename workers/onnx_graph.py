"""A small writer of ONNX graphs; the only module that imports ``onnx``. Standard operations only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from broker.errors import MissingDependency
from workers.errors import ModelMismatch

OPSET = 17
IR_VERSION = 10
"""Read by ONNX Runtime from 1.18 on and by OpenCV from 4.8 on."""
SMALL_BYTES = 256
"""Constants up to this size are stored once, however often they are used."""


class GraphWriter:
    """Collects nodes and constants, then writes the file.

    The same calls write the same bytes: names are counted, nothing is random or dated.

    Args:
        half: ``weights`` stores float16 instead of float32.

    Raises:
        MissingDependency: the package ``onnx`` is not installed.
    """

    def __init__(self, half: bool = False) -> None:
        try:
            from onnx import TensorProto, helper, numpy_helper
        except ImportError as error:
            raise MissingDependency(
                f"The package onnx, which writes converted networks, cannot be imported: {error}.",
                "Install it with: pip install 'hardpose[onnx]'.",
            ) from error
        self._helper, self._numpy_helper, self._types = helper, numpy_helper, TensorProto
        self.half = half
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._known: dict[tuple[bytes, str, tuple[int, ...]], str] = {}
        self._count = 0

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output; returns the output's name."""
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Adds a node with several outputs; returns their names."""
        self._count += 1
        name = f"{kind}_{self._count}"
        names = [name if outputs == 1 else f"{name}_{i}" for i in range(outputs)]
        self._nodes.append(self._helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return names

    def rename(self, value: str, name: str) -> str:
        """Gives ``value`` the name under which it leaves the graph."""
        self._nodes.append(self._helper.make_node("Identity", [value], [name], name=f"out_{name}"))
        return name

    def cast(self, value: str, to: DTypeLike) -> str:
        """``value`` with another element type."""
        return self.op("Cast", value, to=self._helper.np_dtype_to_tensor_dtype(np.dtype(to)))

    def constant(self, values: ArrayLike, dtype: DTypeLike) -> str:
        """A constant tensor; returns its name."""
        array = np.array(values, dtype=dtype, order="C")
        key = (array.tobytes() if array.nbytes <= SMALL_BYTES else b"", array.dtype.str, array.shape)
        if array.nbytes <= SMALL_BYTES and key in self._known:
            return self._known[key]
        self._count += 1
        name = f"constant_{self._count}"
        self._constants.append(self._numpy_helper.from_array(array, name))
        if array.nbytes <= SMALL_BYTES:
            self._known[key] = name
        return name

    def weights(self, values: NDArray[Any]) -> str:
        """A constant in the network's arithmetic: float32, or float16 for ``half``.

        Raises:
            ModelMismatch: a number is too large for it.
        """
        kind = np.float16 if self.half else np.float32
        with np.errstate(over="ignore"):
            stored = np.asarray(values).astype(kind)
        if not np.isfinite(stored).all():
            raise ModelMismatch(
                f"The network has a weight of {np.abs(values).max():g}, too large for {stored.dtype}.",
                "Set the model's option precision to fp32; if it is that already, the weights are damaged.",
            )
        return self.constant(stored, kind)

    def floats(self, *values: float) -> str:
        """A float32 constant, one-dimensional."""
        return self.constant(values, np.float32)

    def ints(self, *values: int) -> str:
        """An int64 constant, one-dimensional."""
        return self.constant(values, np.int64)

    def save(
        self,
        path: Path,
        name: str,
        inputs: dict[str, tuple[DTypeLike, Sequence[int | str]]],
        outputs: dict[str, tuple[DTypeLike, Sequence[int | str]]],
        notes: dict[str, str],
    ) -> None:
        """Checks the graph and writes it.

        Args:
            path: of the file.
            name: of the graph.
            inputs: name -> element type and shape; a string is a side that may vary.
            outputs: the same.
            notes: kept in the file as metadata: source, sha256, licence, citation.

        Raises:
            onnx.checker.ValidationError: the graph is wrong, which is a defect of its writer.
        """
        import onnx

        ports = [[self._port(n, *port) for n, port in side.items()] for side in (inputs, outputs)]
        graph = self._helper.make_graph(self._nodes, name, ports[0], ports[1], self._constants)
        model = self._helper.make_model(
            graph, producer_name="hardpose", ir_version=IR_VERSION,
            opset_imports=[self._helper.make_opsetid("", OPSET)],
        )  # fmt: skip
        self._helper.set_model_props(model, notes)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _port(self, name: str, dtype: DTypeLike, shape: Sequence[int | str]) -> Any:
        kind = self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._helper.make_tensor_value_info(name, kind, list(shape))
