"""Mask R-CNN's steps between its networks, in the TensorFlow that is handed in. Always float32.

Boxes are y1, x1, y2, x2, normalised. Source: Matterport Mask R-CNN, model (MIT).
"""

from typing import Any

from workers.masks.matterport.anchors import anchors
from workers.masks.matterport.architecture import (
    BOX_POOL,
    BOX_STD,
    MASK_POOL,
    MAX_DETECTIONS,
    MEAN_PIXEL,
    PRE_NMS,
    PROPOSAL_IOU,
    PROPOSALS,
)
from workers.masks.matterport.keras_layers import Networks

ROI_SIDE = 224.0
"""Side in pixels of a box that is pooled from P4 (Lin et al., "Feature Pyramid Networks", equation 1)."""


def inference(tf: Any, nets: Networks, size: int, min_score: float, nms_iou: float) -> Any:
    """The whole network as a function of TensorFlow.

    Args:
        tf: the module.
        nets: with their weights.
        size: side of the square input in pixels.
        min_score: least probability of a detection's class.
        nms_iou: detections of one class and image that overlap by more are one.

    Returns:
        (images N x S x S x 3 float32, windows N x 4 float32 in pixels) -> boxes D x 4, classes D int32,
        scores D, image numbers D int32, masks P x 28 x 28 (the first D are real, P a power of two), and how
        many numbers on the way were not finite. By image, best score first.
    """
    every_anchor, mean = tf.constant(anchors(size)), tf.constant(MEAN_PIXEL, tf.float32)

    def find(images: Any, windows: Any) -> tuple[Any, ...]:
        count = tf.shape(images)[0]
        levels = nets.trunk(images - mean)
        objects, deltas = (tf.concat(parts, 1) for parts in zip(*map(nets.rpn, levels), strict=True))
        rois = tf.map_fn(
            lambda own: _proposals(tf, own[0], own[1], every_anchor),
            (objects, deltas),
            fn_output_signature=tf.TensorSpec((PROPOSALS, 4)),
        )
        flat, index = tf.reshape(rois, (-1, 4)), tf.repeat(tf.range(count), PROPOSALS)
        probabilities, refinements = nets.box(_pooled(tf, levels[:4], flat, index, BOX_POOL, size))
        inside = (windows - (0.0, 0.0, 1.0, 1.0)) / (size - 1.0)
        # Deltas of the likeliest class, before images are separated: 81 times less to carry.
        ids = tf.argmax(probabilities, 1, output_type=tf.int32)
        score = tf.gather(probabilities, ids, batch_dims=1)
        chosen = tf.gather(refinements, ids, batch_dims=1)
        refined = _moved(tf, flat, chosen)
        boxes = _clipped(tf, refined, tf.gather(inside, index))
        # TensorFlow's ReLU turns NaN into 0, so that the scores alone would look sound.
        broken = sum(_count_broken(tf, values) for values in (*levels, objects, rois, score, refined))
        keep = _kept(tf, boxes, ids, score, index, count, min_score, nms_iou)
        boxes, ids, score, index = (tf.gather(values, keep) for values in (boxes, ids, score, index))
        masks = _masks(tf, nets, levels[:4], boxes, ids, index, size)
        return boxes, ids, score, index, masks, broken + _count_broken(tf, masks)

    square, window = tf.TensorSpec((None, size, size, 3)), tf.TensorSpec((None, 4))
    return tf.function(find, input_signature=(square, window))


def _count_broken(tf: Any, values: Any) -> Any:
    """How many are infinite or not a number."""
    return tf.math.count_nonzero(~tf.math.is_finite(values))


def _proposals(tf: Any, scores: Any, deltas: Any, every_anchor: Any) -> Any:
    """1000 x 4 boxes of one image, zeros at the end when there are fewer."""
    best, which = tf.math.top_k(scores, min(PRE_NMS, len(every_anchor)))
    moved = _moved(tf, tf.gather(every_anchor, which), tf.gather(deltas, which))
    boxes = tf.clip_by_value(moved, 0.0, 1.0)
    kept = tf.image.non_max_suppression(boxes, best, PROPOSALS, PROPOSAL_IOU)
    boxes = tf.gather(boxes, kept)
    return tf.pad(boxes, [[0, PROPOSALS - tf.shape(boxes)[0]], [0, 0]])


def _moved(tf: Any, boxes: Any, deltas: Any) -> Any:
    """Boxes y1, x1, y2, x2 moved and stretched by dy, dx, log dh, log dw (Matterport, apply_box_deltas)."""
    deltas = deltas * BOX_STD
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + 0.5 * sides + deltas[:, :2] * sides
    sides = sides * tf.exp(deltas[:, 2:])
    low = centres - 0.5 * sides
    return tf.concat([low, low + sides], 1)


def _clipped(tf: Any, boxes: Any, windows: Any) -> Any:
    """Each box cut off at its own window."""
    low, high = tf.tile(windows[:, :2], (1, 2)), tf.tile(windows[:, 2:], (1, 2))
    return tf.minimum(tf.maximum(boxes, low), high)


def _kept(
    tf: Any, boxes: Any, ids: Any, scores: Any, index: Any, images: Any, min_score: float, iou: float
) -> Any:
    """Which of all images' boxes are detections: by image, best score first, at most 100 of each."""
    sides = boxes[:, 2:] - boxes[:, :2]
    good = (ids > 0) & (scores >= min_score) & tf.reduce_all(sides > 0, axis=1)

    def of_one_image(number: Any) -> Any:
        rows = tf.cast(tf.where(good & (index == number))[:, 0], tf.int32)
        own, kinds, best = tf.gather(boxes, rows), tf.gather(ids, rows), tf.gather(scores, rows)
        same = tf.cast(kinds[:, None] == kinds[None, :], tf.float32)
        chosen = tf.image.non_max_suppression_overlaps(_ious(tf, own) * same, best, MAX_DETECTIONS, iou)
        rest = MAX_DETECTIONS - tf.shape(chosen)[0]
        return tf.pad(tf.gather(rows, chosen), [[0, rest]], constant_values=-1)

    spec = tf.TensorSpec((MAX_DETECTIONS,), tf.int32)
    rows = tf.reshape(tf.map_fn(of_one_image, tf.range(images), fn_output_signature=spec), (-1,))
    return tf.boolean_mask(rows, rows >= 0)


def _ious(tf: Any, boxes: Any) -> Any:
    """Intersection over union of every two of n boxes, n x n; their areas are above 0."""
    low = tf.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = tf.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = tf.reduce_prod(tf.maximum(high - low, 0.0), axis=2)
    areas = tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return shared / (areas[:, None] + areas[None, :] - shared)


def _pooled(tf: Any, levels: Any, boxes: Any, index: Any, side: int, size: int) -> Any:
    """Features of n boxes of the images ``index``, each from the one of P2 to P5 that fits its size
    (Matterport, PyramidROIAlign): n x side x side x 256.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    # log2 of the box's side over 224 pixels; an empty box has -inf, which the bounds make level 2.
    rise = tf.math.log(tf.sqrt(tf.reduce_prod(sides, axis=1)) * (size / ROI_SIDE)) / tf.math.log(2.0)
    level = tf.clip_by_value(4.0 + tf.round(rise), 2.0, 5.0)
    # A box that is not a number has to stay in its row until it is reported.
    level = tf.cast(tf.where(tf.math.is_nan(level), 2.0, level), tf.int32)
    rows = [tf.where(level == number)[:, 0] for number in (2, 3, 4, 5)]
    crops = [
        tf.image.crop_and_resize(features, tf.gather(boxes, own), tf.gather(index, own), (side, side))
        for features, own in zip(levels, rows, strict=True)
    ]
    return tf.gather(tf.concat(crops, 0), tf.argsort(tf.concat(rows, 0)))


def _masks(tf: Any, nets: Networks, levels: Any, boxes: Any, ids: Any, index: Any, size: int) -> Any:
    """P x 28 x 28: the mask of each box's own class, padded at the end.

    Padded to a power of two, because a GPU searches for a convolution algorithm anew for each size.
    """
    count = tf.shape(ids)[0]
    doublings = tf.math.ceil(tf.math.log(tf.cast(tf.maximum(count, 1), tf.float32)) / tf.math.log(2.0))
    rest = tf.maximum(tf.cast(2.0**doublings, tf.int32), count) - count
    boxes = tf.pad(boxes, [[0, rest], [0, 0]])
    ids, index = (tf.pad(values, [[0, rest]]) for values in (ids, index))
    masks = nets.mask(_pooled(tf, levels, boxes, index, MASK_POOL, size))
    return tf.gather(masks, ids, axis=3, batch_dims=1)
