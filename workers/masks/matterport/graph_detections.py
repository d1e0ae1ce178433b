"""From classified boxes to detections, as ONNX nodes.

Source: Matterport Mask R-CNN, DetectionLayer.
"""

from collections.abc import Sequence

from workers.masks.matterport.architecture import MAX_DETECTIONS, PROPOSALS
from workers.masks.matterport.graph_boxes import columns, zeros
from workers.onnx_graph import GraphWriter


def write_detections(
    graph: GraphWriter, class_ids: str, scores: str, boxes: str, wanted: Sequence[int]
) -> tuple[str, str, str]:
    """The boxes that are sure enough, those of a class that do not overlap too much, at most 100 of an image.

    Takes the graph's inputs ``min_score`` and ``nms_iou``, 1 float32 each. Boxes without an area are left
    out here; Matterport leaves them out afterwards, where they have taken the place of others.

    Args:
        graph: to write into.
        class_ids: best class of each box, N x 1000 int64.
        scores: its probability, N x 1000 float32.
        boxes: N x 1000 x 4 float32.
        wanted: classes to detect.

    Returns:
        Of each detection, by image and then best first, D each: the score float32, the number of the image
        int64, and which of its 1000 boxes it is, int64.
    """
    own = graph.op(
        "Equal", graph.op("Unsqueeze", class_ids, graph.ints(1)),
        graph.op("Unsqueeze", graph.ints(*wanted), graph.ints(0, 2)),
    )  # fmt: skip
    good = graph.op("Unsqueeze", _good(graph, scores, boxes), graph.ints(1))
    own = graph.op("And", own, good)
    by_class = graph.op("Where", own, graph.op("Unsqueeze", scores, graph.ints(1)), graph.floats(0))
    kept = graph.op(
        "NonMaxSuppression", boxes, by_class, graph.ints(MAX_DETECTIONS), "nms_iou", graph.floats(0)
    )
    return _best(graph, scores, graph.op("Gather", kept, graph.ints(0, 2), axis=1))


def _good(graph: GraphWriter, scores: str, boxes: str) -> str:
    """Whether a box is sure enough and has an area, N x 1000."""
    sides = graph.op("Sub", columns(graph, boxes, 2, 4), columns(graph, boxes, 0, 2))
    area = graph.op("ReduceProd", sides, axes=[2], keepdims=0)
    real = graph.op("Greater", area, graph.floats(0))
    return graph.op("And", graph.op("GreaterOrEqual", scores, "min_score"), real)


def _best(graph: GraphWriter, scores: str, kept: str) -> tuple[str, str, str]:
    """Of the detections ``kept`` (K x 2: image, box) the best of each image, in order."""
    only_kept = graph.op("GatherND", scores, kept)
    dense = graph.op("ScatterND", zeros(graph, scores, PROPOSALS), kept, only_kept)
    best, places = graph.ops("TopK", dense, graph.ints(MAX_DETECTIONS), outputs=2, axis=1)
    real = graph.op("NonZero", graph.op("Greater", best, graph.floats(0)))
    real = graph.op("Transpose", real, perm=[1, 0])
    image = graph.op("Gather", real, graph.constant(0, "int64"), axis=1)
    return graph.op("GatherND", best, real), image, graph.op("GatherND", places, real)
