"""The features under boxes, from the pyramid level that fits each, as ONNX nodes.

Matterport samples with TensorFlow's ``crop_and_resize``: single bilinear points, the outer ones on the box's
edges. ``RoiAlign`` can do the same, but ONNX Runtime has its version of this opset for the CPU alone, and
would carry the whole pyramid there and back; gathering rows of a table runs everywhere.
"""

import math
from collections.abc import Sequence

from workers.masks.matterport.graph_boxes import columns
from workers.onnx_graph import GraphWriter

LEVEL_SIDE = 224.0
"""A box of 224 x 224 pixels is pooled from P4 (Lin et al., "Feature Pyramid Networks", equation 1)."""
LEVELS = (2, 3, 4, 5)
"""Pyramid levels that boxes are pooled from."""


class FeaturePool:
    """The pyramid as one table of N T rows: by image, level, row and column.

    Args:
        graph: to write into.
        levels: P2 to P5 in the graph's arithmetic, N x C x S/4 x S/4 ... S/32 x S/32.
        size: S, side of the network's input in pixels.
    """

    def __init__(self, graph: GraphWriter, levels: Sequence[str], size: int) -> None:
        self._graph, self._size = graph, size
        self._sides = [size >> level for level in LEVELS]
        rows = [graph.op("Transpose", level, perm=[0, 2, 3, 1]) for level in levels]
        channels = graph.op("Shape", levels[0], start=1, end=2)
        flat = graph.op("Concat", graph.ints(0, -1), channels, axis=0)
        table = graph.op("Concat", *(graph.op("Reshape", level, flat) for level in rows), axis=1)
        self._table = graph.op("Reshape", table, graph.op("Concat", graph.ints(-1), channels, axis=0))

    def under(self, boxes: str, image: str, side: int) -> str:
        """Samples ``side`` x ``side`` points of each box.

        Args:
            boxes: D x 4 float32 in 0..1; NaN counts as 0.
            image: D int64, each box's image in the batch.
            side: points each way.

        Returns:
            D x side x side x C.
        """
        graph = self._graph
        boxes = graph.op("Where", graph.op("IsNaN", boxes), graph.floats(0), boxes)
        level = graph.cast(graph.op("Sub", self._level(boxes), graph.floats(LEVELS[0])), "int64")
        width = graph.op("Gather", graph.ints(*self._sides), level)
        start = graph.op("Add", graph.op("Gather", self._starts(), level), self._first_row(image))
        last = graph.op("Gather", graph.floats(*(float(count - 1) for count in self._sides)), level)
        last = graph.op("Unsqueeze", last, graph.ints(1))
        rows = self._points(boxes, 0, last, side)
        cells = self._points(boxes, 1, last, side)
        first = self._spread(start, 1, 2)
        in_row = [self._spread(graph.op("Mul", y, self._spread(width, 1)), 2) for y in rows[:2]]
        above, below = (graph.op("Add", y, first) for y in in_row)
        left, right = (self._spread(x, 1) for x in cells[:2])
        across, down = self._spread(cells[2], 1, 3), self._spread(rows[2], 2, 3)
        upper = self._blend(self._cells(above, left), self._cells(above, right), across)
        lower = self._blend(self._cells(below, left), self._cells(below, right), across)
        return self._blend(upper, lower, down)

    def _level(self, boxes: str) -> str:
        """Each box's level as a float: 4 + round(log2(sqrt(h w) / 224)), between 2 and 5; D."""
        graph = self._graph
        sides = graph.op("Sub", columns(graph, boxes, 2, 4), columns(graph, boxes, 0, 2))
        side = graph.op("Sqrt", graph.op("ReduceProd", sides, axes=[1], keepdims=0))
        log = graph.op("Log", graph.op("Div", side, graph.floats(LEVEL_SIDE / self._size)))
        rise = graph.op("Round", graph.op("Div", log, graph.floats(math.log(2))))
        level = graph.op("Add", rise, graph.floats(4))
        return graph.op("Min", graph.op("Max", level, graph.floats(LEVELS[0])), graph.floats(LEVELS[-1]))

    def _starts(self) -> str:
        """Row of each level's first cell, within its image."""
        starts = [0]
        for side in self._sides[:-1]:
            starts.append(starts[-1] + side * side)
        return self._graph.ints(*starts)

    def _first_row(self, image: str) -> str:
        return self._graph.op("Mul", image, self._graph.ints(sum(side * side for side in self._sides)))

    def _points(self, boxes: str, axis: int, last: str, side: int) -> tuple[str, str, str]:
        """Of the sampled points, D x side each: the cell before and the cell after, int64, and the share of
        the second.
        """
        graph = self._graph
        low, high = (graph.op("Mul", columns(graph, boxes, at, at + 1), last) for at in (axis, axis + 2))
        step = graph.op("Div", graph.op("Sub", high, low), graph.floats(side - 1))
        at = graph.op("Add", low, graph.op("Mul", step, graph.floats(*range(side))))
        at = graph.op("Min", at, last)
        before = graph.op("Floor", at)
        after = graph.op("Min", graph.op("Add", before, graph.floats(1)), last)
        share = graph.op("Sub", at, before)
        share = graph.cast(share, "float16") if graph.half else share
        return graph.cast(before, "int64"), graph.cast(after, "int64"), share

    def _cells(self, row: str, column: str) -> str:
        """The features at table row ``row`` + ``column``."""
        return self._graph.op("Gather", self._table, self._graph.op("Add", row, column), axis=0)

    def _blend(self, first: str, second: str, share: str) -> str:
        graph = self._graph
        return graph.op("Add", first, graph.op("Mul", graph.op("Sub", second, first), share))

    def _spread(self, x: str, *axes: int) -> str:
        return self._graph.op("Unsqueeze", x, self._graph.ints(*axes))
