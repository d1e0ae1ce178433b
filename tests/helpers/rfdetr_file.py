"""Writes small ONNX files with the inputs and outputs of RF-DETR Seg that really look at the picture.

Query 0 finds what is red and is sure that it is a person, query 1 what is green, query 2 finds what is blue
and says that it is a dog, query 3 finds what is red once more and is less sure, query 4 finds nothing. The
mask is the colour itself, at a quarter of the size, and the box lies around the mask.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workers.onnx_graph import GraphWriter

PERSON, DOG = 1, 18
QUERIES = 5
COLOURS = np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, -1], [0, 0, 0]], np.float32)
SEEN = np.array([5.0, 4.0, 4.0, 2.0, -6.0], np.float32)
"""Logit of the class that a query names when it sees its colour; without it -6."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Export:
    """How the file is written.

    Attributes:
        side: of the square input; a multiple of 4.
        batch: a number, or the name of an open side.
        probabilities: the masks pass a sigmoid before they leave.
        names: of the outputs.
        classes: length of a query's logits.
        with_masks: without them it is a detection network.
    """

    side: int = 64
    batch: int | str = 1
    probabilities: bool = False
    names: tuple[str, str, str] = ("dets", "labels", "masks")
    classes: int = 91
    with_masks: bool = True

    def write(self, path: Path) -> Path:
        """Writes the file and returns its path."""
        g = GraphWriter()
        masks = _masks(g)
        seen = g.op("Greater", masks, g.floats(0.0))
        side = self.side // 4
        found = {
            self.names[0]: (_boxes(g, seen, side), (self.batch, QUERIES, 4)),
            self.names[1]: (_labels(g, seen, self.classes), (self.batch, QUERIES, self.classes)),
        }
        if self.with_masks:
            values = g.op("Sigmoid", masks) if self.probabilities else masks
            found[self.names[2]] = (values, (self.batch, QUERIES, side, side))
        for name, (value, _) in found.items():
            g.rename(value, name)
        image = {"input": (np.float32, (self.batch, 3, self.side, self.side))}
        g.save(path, "rfdetr", image, {n: (np.float32, shape) for n, (_, shape) in found.items()}, {})
        return path


def _masks(g: GraphWriter) -> str:
    """B x 5 x S/4 x S/4 logits: +5 where the colour is full, -5 where there is none of it."""
    rgb = g.op("Mul", "input", g.constant(np.reshape(STD, (1, 3, 1, 1)), np.float32))
    rgb = g.op("Add", rgb, g.constant(np.reshape(MEAN, (1, 3, 1, 1)), np.float32))
    small = g.op("AveragePool", rgb, kernel_shape=[4, 4], strides=[4, 4])
    weights = g.constant(COLOURS[:, :, None, None] * 10, np.float32)
    return g.op("Conv", small, weights, g.floats(*[-5.0] * QUERIES))


def _labels(g: GraphWriter, seen: str, classes: int) -> str:
    base = np.full((1, QUERIES, classes), -7.0, np.float32)
    gain = np.zeros((1, QUERIES, classes), np.float32)
    for query, logit in enumerate(SEEN):
        named = DOG if query == 2 else PERSON
        base[0, query, named], gain[0, query, named] = -6.0, logit + 6.0
    base[0, 2, PERSON], gain[0, 2, PERSON] = -6.0, 8.0  # what is blue looks like a person too, a little less
    number = g.cast(seen, np.float32)
    there = g.op("ReduceMax", number, axes=[2, 3], keepdims=0)
    there = g.op("Unsqueeze", there, g.ints(2))
    return g.op("Add", g.op("Mul", there, g.constant(gain, np.float32)), g.constant(base, np.float32))


def _boxes(g: GraphWriter, seen: str, side: int) -> str:
    """Centre x, centre y, width, height of the box around each mask, over the side; nonsense when empty."""
    number = g.cast(seen, np.float32)
    ends = []
    for axis in (2, 3):  # which columns have a pixel, which rows
        there = g.cast(g.op("ReduceMax", number, axes=[axis], keepdims=0), np.bool_)
        first, after = (np.arange(side) / side).astype(np.float32), (np.arange(1, side + 1) / side)
        low = g.op("Where", there, g.constant(first, np.float32), g.floats(1.0))
        high = g.op("Where", there, g.constant(after, np.float32), g.floats(0.0))
        ends.append((g.op("ReduceMin", low, axes=[2]), g.op("ReduceMax", high, axes=[2])))
    centres = [g.op("Mul", g.op("Add", *pair), g.floats(0.5)) for pair in ends]
    sizes = [g.op("Sub", high, low) for low, high in ends]
    return g.op("Concat", *centres, *sizes, axis=2)
