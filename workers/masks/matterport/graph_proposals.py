"""From the region proposal network's answers to the boxes that are looked at, as ONNX nodes.

Source: Matterport Mask R-CNN, ProposalLayer.
"""

from workers.masks.matterport.anchors import anchors
from workers.masks.matterport.architecture import PRE_NMS, PROPOSAL_IOU, PROPOSALS
from workers.masks.matterport.graph_boxes import clip, decode, image_numbers, pair, zeros
from workers.onnx_graph import GraphWriter


def write_proposals(graph: GraphWriter, objects: str, deltas: str, size: int) -> str:
    """The best boxes of each image that do not overlap too much.

    Args:
        graph: to write into.
        objects: probability of an object at each anchor, N x A float32.
        deltas: N x A x 4 float32.
        size: side of the network's input in pixels; decides the anchors.

    Returns:
        N x 1000 x 4 float32, best first. Images with fewer end in boxes of zeros, as in Matterport's graph,
        so that what follows always has the same shape.
    """
    table = anchors(size)
    best = graph.ints(min(PRE_NMS, len(table)))
    scores, places = graph.ops("TopK", objects, best, outputs=2, axis=1)
    chosen = graph.op("GatherND", deltas, graph.op("Unsqueeze", places, graph.ints(2)), batch_dims=1)
    boxes = decode(graph, graph.op("Gather", graph.constant(table, "float32"), places), chosen)
    boxes = clip(graph, boxes, graph.floats(0), graph.floats(1))
    kept = graph.op(
        "NonMaxSuppression", boxes, graph.op("Unsqueeze", scores, graph.ints(1)),
        graph.ints(PROPOSALS), graph.floats(PROPOSAL_IOU),
    )  # fmt: skip
    rois = graph.op("GatherND", boxes, graph.op("Gather", kept, graph.ints(0, 2), axis=1))
    image = graph.op("Gather", kept, graph.constant(0, "int64"), axis=1)
    place = pair(graph, image, _ranks(graph, image, image_numbers(graph, objects)))
    return graph.op("ScatterND", zeros(graph, objects, PROPOSALS, 4), place, rois)


def _ranks(graph: GraphWriter, image: str, images: str) -> str:
    """Of each of K boxes, how many of its own image come before it; K int64."""
    same = graph.cast(graph.op("Equal", graph.op("Unsqueeze", image, graph.ints(1)), images), "int64")
    so_far = graph.op("Mul", graph.op("CumSum", same, graph.constant(0, "int64")), same)
    return graph.op("Sub", graph.op("ReduceSum", so_far, graph.ints(1), keepdims=0), graph.ints(1))
