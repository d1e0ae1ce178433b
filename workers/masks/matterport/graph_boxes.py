"""What the proposals and the detections of Mask R-CNN share, as ONNX nodes on float32 boxes.

Boxes are y1, x1, y2, x2, normalised as ``anchors.normalised`` does.
"""

import math
from collections.abc import Sequence

from workers.masks.matterport.architecture import BOX_STD
from workers.onnx_graph import GraphWriter

LEVEL_SIDE = 224.0
"""A box of 224 x 224 pixels is pooled from P4 (Lin et al., "Feature Pyramid Networks", equation 1)."""
LEVELS = (2, 3, 4, 5)
"""Pyramid levels that boxes are pooled from."""


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


def pool(graph: GraphWriter, boxes: str, image: str, levels: Sequence[str], size: int, side: int) -> str:
    """The features under each box, from the pyramid level that fits its size.

    Matterport samples with TensorFlow's ``crop_and_resize``: ``side`` x ``side`` single points, the outer
    ones on the box's edges. ``RoiAlign`` with one sample a cell takes the same points when the box is half
    a step larger all around, and half a cell further for its half-pixel coordinates. Its mode
    ``output_half_pixel`` would enlarge small boxes.

    Args:
        graph: to write into.
        boxes: D x 4.
        image: D int64, each box's image in the batch.
        levels: P2 to P5, float32, N x C x S/4 x S/4 ... S/32 x S/32.
        size: S, side of the network's input in pixels.
        side: of the result.

    Returns:
        D x C x side x side, float32.
    """
    wanted = _level(graph, boxes, size)
    parts, places = [], []
    for level, features in zip(LEVELS, levels, strict=True):
        at = graph.op("NonZero", graph.op("Equal", wanted, graph.floats(level)))
        at = graph.op("Squeeze", at, graph.ints(0))
        rois = _roi_align_boxes(graph, graph.op("Gather", boxes, at), (size >> level) - 1, side)
        parts.append(
            graph.op(
                "RoiAlign", features, rois, graph.op("Gather", image, at),
                output_height=side, output_width=side, sampling_ratio=1, spatial_scale=1.0, mode="avg",
                coordinate_transformation_mode="half_pixel",
            )
        )  # fmt: skip
        places.append(at)
    by_level = graph.op("Concat", *parts, axis=0)
    order = graph.op("Unsqueeze", graph.op("Concat", *places, axis=0), graph.ints(1))
    return graph.op("ScatterND", by_level, order, by_level)


def _level(graph: GraphWriter, boxes: str, size: int) -> str:
    """Each box's pyramid level as a float: 4 + round(log2(sqrt(h w) / 224)), between 2 and 5; D."""
    sides = graph.op("Sub", columns(graph, boxes, 2, 4), columns(graph, boxes, 0, 2))
    side = graph.op("Sqrt", graph.op("ReduceProd", sides, axes=[1], keepdims=0))
    log = graph.op("Log", graph.op("Div", side, graph.floats(LEVEL_SIDE / size)))
    level = graph.op(
        "Add", graph.op("Round", graph.op("Div", log, graph.floats(math.log(2)))), graph.floats(4)
    )
    return graph.op("Min", graph.op("Max", level, graph.floats(LEVELS[0])), graph.floats(LEVELS[-1]))


def _roi_align_boxes(graph: GraphWriter, boxes: str, last: int, side: int) -> str:
    """x1, y1, x2, y2 in cells for ``RoiAlign``; ``last`` is the index of the level's last cell."""
    low, high = (
        graph.op("Mul", columns(graph, boxes, start, start + 2), graph.floats(last)) for start in (0, 2)
    )
    half_step = graph.op("Div", graph.op("Sub", high, low), graph.floats(2 * (side - 1)))
    low = graph.op("Sub", low, graph.op("Sub", half_step, graph.floats(0.5)))
    high = graph.op("Add", high, graph.op("Add", half_step, graph.floats(0.5)))
    both = graph.op("Concat", low, high, axis=1)
    return graph.op("Gather", both, graph.ints(1, 0, 3, 2), axis=1)
