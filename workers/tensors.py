"""An input or an output of a network, whichever runtime has it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Tensor:
    """An input or an output of a model.

    Attributes:
        name: as the file says.
        index: the runtime's handle, where it has one.
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
    scale: float = 1.0
    zero_point: int = 0
    quantised: bool = False

    def __str__(self) -> str:
        sides = "x".join("?" if side < 0 else str(side) for side in self.shape)
        return f"{self.name} {sides} {self.dtype}"

    def quantise(self, values: Floats) -> NDArray[Any]:
        """Real ``values`` as the numbers this tensor stores; integers are rounded and clipped."""
        if self.dtype.kind == "f":
            floats: NDArray[Any] = values.astype(self.dtype, copy=False)
            return floats
        limits = np.iinfo(self.dtype)
        stored = np.rint(values / self.scale) + self.zero_point
        clipped: NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(self.dtype)
        return clipped

    def dequantise(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The real values (float32) of ``stored``; plain integers and truth values stay what they are."""
        if self.dtype.kind == "f":
            return stored.astype(np.float32, copy=False)
        if not self.quantised:
            return stored
        real: NDArray[Any] = (stored.astype(np.float32) - self.zero_point) * np.float32(self.scale)
        return real


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow; float32 of the same shape."""
    values: Floats = (1.0 / (1.0 + np.exp(-np.clip(logits, -80, 80)))).astype(np.float32)
    return values
