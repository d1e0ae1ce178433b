"""Matterport's inference graph as an ONNX file, of standard operations and for whole batches."""

from collections.abc import Mapping
from pathlib import Path

from workers.masks.matterport.architecture import (
    BOX_POOL,
    MASK_POOL,
    MASK_SIDE,
    PERSON,
    PROPOSALS,
    Weights,
)
from workers.masks.matterport.graph_boxes import clip, columns, decode, image_numbers, pair
from workers.masks.matterport.graph_detections import write_detections
from workers.masks.matterport.graph_layers import LayerWriter
from workers.masks.matterport.graph_pool import FeaturePool
from workers.masks.matterport.graph_proposals import write_proposals
from workers.masks.matterport.graph_trunk import write_trunk
from workers.onnx_graph import GraphWriter

MOST_BOXES = 17
"""Log2 of the most detections in a batch: far more than fit into any memory."""
BUILDER = 2
"""Raised whenever the same weights give another file."""


def write_graph(
    weights: Weights,
    path: Path,
    image_size: int,
    half: bool = False,
    person_only: bool = True,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Writes the network.

    Inputs: ``image`` N x 3 x S x S float32 RGB from 0 to 255; ``window`` N x 4 float32, where the frame
    lies (y1, x1, y2, x2 in pixels); ``min_score`` and ``nms_iou``, 1 float32 each (Matterport: 0.7, 0.3).

    Outputs, for the D instances of all images, by image and then best first: ``boxes`` D x 4 float32 (y1,
    x1, y2, x2 normalised over the input), ``class_ids`` D int64, ``scores`` D float32, ``image_index`` D
    int64, ``masks`` D x 28 x 28 float32, probabilities over the box; and ``not_numbers`` N int64: how many
    scores and box sides of each image are NaN, which is 0 unless the arithmetic has overflowed.

    Boxes without an area are left out, as Matterport does afterwards.

    Args:
        weights: see ``h5.read_h5``.
        path: of the file to write.
        image_size: S, a multiple of 64.
        half: layers in float16; boxes, scores and NMS stay in float32.
        person_only: detect class 1 alone.
        notes: kept in the file.
    """
    graph = GraphWriter(half)
    network = _Network(graph, LayerWriter(graph, weights), image_size, person_only)
    network.write(weights["mrcnn_class_logits", "kernel"].shape[1])
    graph.save(
        path, "mask_rcnn",
        {
            "image": ("float32", ("N", 3, image_size, image_size)), "window": ("float32", ("N", 4)),
            "min_score": ("float32", (1,)), "nms_iou": ("float32", (1,)),
        },
        {
            "boxes": ("float32", ("D", 4)), "class_ids": ("int64", ("D",)), "scores": ("float32", ("D",)),
            "image_index": ("int64", ("D",)), "masks": ("float32", ("D", MASK_SIDE, MASK_SIDE)),
            "not_numbers": ("int64", ("N",)),
        },
        dict(notes or {}),
    )  # fmt: skip


class _Network:
    """One network while it is written. N is the batch, A the anchors, R the 1000 proposals of an image."""

    def __init__(self, graph: GraphWriter, layers: LayerWriter, size: int, person_only: bool) -> None:
        self._graph, self._layers, self._size, self._person_only = graph, layers, size, person_only

    def write(self, classes: int) -> None:
        """The whole graph, outputs named."""
        graph = self._graph
        levels = write_trunk(graph, self._layers, "image")
        objects, deltas = self._rpn(levels)
        rois = write_proposals(graph, objects, deltas, self._size)
        pooled = FeaturePool(graph, levels[:4], self._size)
        class_ids, scores, refined = self._box_head(rois, pooled, classes)
        boxes = clip(graph, refined, *self._window())
        wanted = [PERSON] if self._person_only else list(range(1, classes))
        ranked, image, place = write_detections(graph, class_ids, scores, boxes, wanted)
        found = pair(graph, image, place)
        boxes, class_ids = graph.op("GatherND", boxes, found), graph.op("GatherND", class_ids, found)
        masks = self._mask_head(boxes, image, class_ids, pooled)
        outputs = (boxes, "boxes"), (class_ids, "class_ids"), (ranked, "scores"), (image, "image_index")
        broken = graph.op("Sum", *(self._count_nan(value) for value in (objects, scores, refined)))
        for value, name in (*outputs, (masks, "masks"), (graph.cast(broken, "int64"), "not_numbers")):
            graph.rename(value, name)

    def _count_nan(self, x: str) -> str:
        """How many of N x anything are NaN: N float32."""
        graph = self._graph
        bad = graph.cast(graph.op("IsNaN", graph.op("Flatten", x)), "float32")
        return graph.op("ReduceSum", bad, graph.ints(1), keepdims=0)

    def _rpn(self, levels: list[str]) -> tuple[str, str]:
        """Probability of an object N x A, and box deltas N x A x 4."""
        graph, layers = self._graph, self._layers
        logits, deltas = [], []
        for level in levels:
            shared = layers.conv(level, "rpn_conv_shared", relu=True)
            logits.append(self._rows(layers.conv(shared, "rpn_class_raw"), 2))
            deltas.append(self._rows(layers.conv(shared, "rpn_bbox_pred"), 4))
        probabilities = graph.op("Softmax", graph.op("Concat", *logits, axis=1), axis=2)
        objects = graph.op("Squeeze", columns(graph, probabilities, 1, 2), graph.ints(2))
        return objects, graph.op("Concat", *deltas, axis=1)

    def _rows(self, x: str, width: int) -> str:
        """N x C x H x W as N x anchors x ``width``, float32."""
        last = self._graph.op("Transpose", self._wide(x), perm=[0, 2, 3, 1])
        return self._graph.op("Reshape", last, self._graph.ints(0, -1, width))

    def _box_head(self, rois: str, pooled: FeaturePool, classes: int) -> tuple[str, str, str]:
        """Best class N x R, its score N x R, and the box refined for it N x R x 4, not yet clipped."""
        graph, layers = self._graph, self._layers
        owners = graph.op("Unsqueeze", image_numbers(graph, rois), graph.ints(1))
        owners = graph.op("Expand", owners, graph.ints(1, PROPOSALS))
        owners = graph.op("Reshape", owners, graph.ints(-1))
        flat = graph.op("Reshape", rois, graph.ints(-1, 4))
        x = graph.op("Flatten", pooled.under(flat, owners, BOX_POOL))
        x = layers.dense(x, "mrcnn_class_conv1", "mrcnn_class_bn1", relu=True)
        x = layers.dense(x, "mrcnn_class_conv2", "mrcnn_class_bn2", relu=True)
        logits = self._wide(layers.dense(x, "mrcnn_class_logits"))
        probabilities = graph.op("Softmax", logits, axis=1)
        class_ids = graph.op("ArgMax", probabilities, axis=1, keepdims=0)
        scores = graph.op("ReduceMax", probabilities, axes=[1], keepdims=0)
        refined = decode(graph, flat, self._deltas(x, class_ids, classes))
        per_image = graph.ints(-1, PROPOSALS)
        boxes = graph.op("Reshape", refined, graph.ints(-1, PROPOSALS, 4))
        class_ids, scores = (graph.op("Reshape", value, per_image) for value in (class_ids, scores))
        return class_ids, scores, boxes

    def _deltas(self, x: str, class_ids: str, classes: int) -> str:
        """The box deltas of each row's class: rows x 4."""
        graph = self._graph
        if self._person_only:
            of_person = slice(4 * PERSON, 4 * PERSON + 4)
            return self._wide(self._layers.dense(x, "mrcnn_bbox_fc", outputs=of_person))
        deltas = self._wide(self._layers.dense(x, "mrcnn_bbox_fc"))
        deltas = graph.op("Reshape", deltas, graph.ints(-1, classes, 4))
        return graph.op("GatherND", deltas, graph.op("Unsqueeze", class_ids, graph.ints(1)), batch_dims=1)

    def _window(self) -> tuple[str, str]:
        """The window's lower and upper corner, normalised, each twice side by side: N x 1 x 4."""
        graph = self._graph
        corners = graph.op("Sub", "window", graph.floats(0, 0, 1, 1))
        corners = graph.op("Div", corners, graph.floats(self._size - 1))
        corners = graph.op("Unsqueeze", corners, graph.ints(1))
        low = graph.op("Gather", corners, graph.ints(0, 1, 0, 1), axis=2)
        return low, graph.op("Gather", corners, graph.ints(2, 3, 2, 3), axis=2)

    def _mask_head(self, boxes: str, image: str, class_ids: str, pooled: FeaturePool) -> str:
        """D x 28 x 28 float32: the mask of each detection's class."""
        graph, layers = self._graph, self._layers
        count = graph.op("Shape", class_ids)
        more = graph.op("Sub", self._rounded(count), count)
        pads = graph.op("Concat", graph.ints(0, 0), more, graph.ints(0), axis=0)
        boxes = graph.op("Pad", boxes, pads)
        pads = graph.op("Concat", graph.ints(0), more, axis=0)
        image, class_ids = graph.op("Pad", image, pads), graph.op("Pad", class_ids, pads)
        x = graph.op("Transpose", pooled.under(boxes, image, MASK_POOL), perm=[0, 3, 1, 2])
        for number in (1, 2, 3, 4):
            x = layers.conv(x, f"mrcnn_mask_conv{number}", f"mrcnn_mask_bn{number}", relu=True)
        x = layers.deconv(x, "mrcnn_mask_deconv")
        only = slice(PERSON, PERSON + 1) if self._person_only else slice(None)
        masks = graph.op("Sigmoid", self._wide(layers.conv(x, "mrcnn_mask", channels=only)))
        if self._person_only:
            masks = graph.op("Squeeze", masks, graph.ints(1))
        else:
            chosen = graph.op("Unsqueeze", class_ids, graph.ints(1))
            masks = graph.op("GatherND", masks, chosen, batch_dims=1)
        return graph.op("Slice", masks, graph.ints(0), count, graph.ints(0))

    def _rounded(self, count: str) -> str:
        """The power of two from ``count`` (1 int64) on, at least 1.

        A GPU prepares its convolutions anew for each new number of boxes, and some cannot work on none.
        """
        graph = self._graph
        sizes = graph.ints(*(1 << power for power in range(MOST_BOXES + 1)))
        fitting = graph.op(
            "Where", graph.op("GreaterOrEqual", sizes, count), sizes, graph.ints(1 << MOST_BOXES)
        )
        return graph.op("ReduceMin", fitting, axes=[0], keepdims=1)

    def _wide(self, x: str) -> str:
        return self._graph.cast(x, "float32") if self._graph.half else x
