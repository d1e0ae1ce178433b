"""Writes small real ONNX segmentation networks that see red: the output is known by heart."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workers.onnx_graph import GraphWriter


@dataclass(frozen=True)
class Red:
    """A network whose person is what is red: its first channel, as it stands in the input.

    Attributes:
        first: the channels are the second axis, of input and output.
        batch, height, width: of the input; a text leaves the side open.
        dtype: of the input.
        out: ``probability`` (red alone), ``pair`` (1 - red, red), ``logit`` (20 * red - 10), ``classes``
            (2 where red is above one half, else 0; int64, no channels), ``byte`` (255 * red, uint8), ``root``
            (the square root of red - 0.25: NaN where there is little red), ``inverse`` (1 / red).
        inputs: how many images it wants.
        divisor: what brings the input to 0..1.
    """

    first: bool = True
    batch: int | str = 1
    height: int | str = 8
    width: int | str = 8
    dtype: str = "float32"
    out: str = "probability"
    inputs: int = 1
    divisor: float = 1.0

    def write(self, path: Path) -> Path:
        """Writes the file and returns its path."""
        g = GraphWriter()
        image = g.op("Div", g.cast("image", np.float32), g.floats(self.divisor))
        axis = 1 if self.first else 3
        red = g.op("Slice", image, g.ints(0), g.ints(1), g.ints(axis))
        half = g.floats(0.5)
        read = {
            "probability": lambda: red,
            "pair": lambda: g.op("Concat", g.op("Sub", g.floats(1), red), red, axis=axis),
            "logit": lambda: g.op("Mul", g.op("Sub", red, half), g.floats(20)),
            "classes": lambda: g.op(
                "Squeeze", g.op("Mul", g.cast(g.op("Greater", red, half), np.int64), g.ints(2)), g.ints(axis)
            ),
            "byte": lambda: g.cast(g.op("Mul", red, g.floats(255)), np.uint8),
            "root": lambda: g.op("Sqrt", g.op("Sub", red, g.floats(0.25))),
            "inverse": lambda: g.op("Div", g.floats(1), red),
        }
        g.rename(read[self.out](), "mask")
        kind = {"classes": np.int64, "byte": np.uint8}.get(self.out, np.float32)
        names = ["image", *(f"image{i}" for i in range(1, self.inputs))]
        ports = {name: (np.dtype(self.dtype), self._shape(3)) for name in names}
        g.save(path, "red", ports, {"mask": (kind, self._mask_shape())}, {})
        return path

    def _shape(self, channels: int) -> tuple[int | str, ...]:
        sides = (self.height, self.width)
        return (self.batch, channels, *sides) if self.first else (self.batch, *sides, channels)

    def _mask_shape(self) -> tuple[int | str, ...]:
        if self.out == "classes":
            return (self.batch, self.height, self.width)
        return self._shape(2 if self.out == "pair" else 1)
