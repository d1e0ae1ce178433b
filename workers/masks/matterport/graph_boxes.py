"""What the proposals and the detections of Mask R-CNN share, as ONNX nodes on float32 boxes.

Boxes are y1, x1, y2, x2, normalised as ``anchors.normalised`` does.
"""

from workers.masks.matterport.architecture import BOX_STD
from workers.onnx_graph import GraphWriter


def columns(graph: GraphWriter, x: str, start: int, stop: int) -> str:
    """``x[..., start:stop]``."""
    return graph.op("Slice", x, graph.ints(start), graph.ints(stop), graph.ints(-1))


def batch_size(graph: GraphWriter, x: str) -> str:
    """The first side of ``x``: 1 int64."""
    return graph.op("Shape", x, start=0, end=1)


def image_numbers(graph: GraphWriter, x: str) -> str:
    """0, 1 ... N - 1 for the N images of ``x``, int64."""
    count = graph.op("Squeeze", batch_size(graph, x), graph.ints(0))
    return graph.op("Range", graph.constant(0, "int64"), count, graph.constant(1, "int64"))


def zeros(graph: GraphWriter, like: str, *sides: int) -> str:
    """N x ``sides`` float32 zeros for the N images of ``like``."""
    shape = graph.op("Concat", batch_size(graph, like), graph.ints(*sides), axis=0)
    return graph.op("Expand", graph.floats(0), shape)


def pair(graph: GraphWriter, *indices: str) -> str:
    """Index vectors of D int64 each, side by side: D x 2, as GatherND wants them."""
    return graph.op("Concat", *(graph.op("Unsqueeze", index, graph.ints(1)) for index in indices), axis=1)


def decode(graph: GraphWriter, boxes: str, deltas: str) -> str:
    """``boxes`` moved and stretched by the network's ``deltas`` (Mask R-CNN's predecessor, Ren et al.,
    "Faster R-CNN", section 3.1.2); both ... x 4.
    """
    scaled = graph.op("Mul", deltas, graph.floats(*BOX_STD))
    low, high = columns(graph, boxes, 0, 2), columns(graph, boxes, 2, 4)
    size = graph.op("Sub", high, low)
    centre = graph.op("Add", low, graph.op("Mul", size, graph.floats(0.5)))
    centre = graph.op("Add", centre, graph.op("Mul", columns(graph, scaled, 0, 2), size))
    size = graph.op("Mul", size, graph.op("Exp", columns(graph, scaled, 2, 4)))
    low = graph.op("Sub", centre, graph.op("Mul", size, graph.floats(0.5)))
    return graph.op("Concat", low, graph.op("Add", low, size), axis=-1)


def clip(graph: GraphWriter, boxes: str, low: str, high: str) -> str:
    """``boxes`` between ``low`` and ``high``, which are broadcast."""
    return graph.op("Max", graph.op("Min", boxes, high), low)
