"""Every layer with weights of Matterport's Mask R-CNN (ResNet-101, FPN), with the shapes of its tensors.

Source: He et al., "Mask R-CNN" (arXiv 1703.06870), and Matterport Mask R-CNN, model and config (MIT).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

COCO_CLASSES = 81
"""Background and COCO's 80 categories (Matterport Mask R-CNN, coco sample)."""
PERSON = 1
"""COCO's first category in Matterport's numbering."""
BLOCKS = {2: 3, 3: 4, 4: 23, 5: 3}
"""Residual blocks in each stage of ResNet-101; ResNet-50 has 6 in stage 4."""
STAGE_WIDTHS = {2: (64, 256), 3: (128, 512), 4: (256, 1024), 5: (512, 2048)}
"""Channels inside a block and after it."""
PYRAMID_WIDTH = 256
"""Channels of every FPN level (config TOP_DOWN_PYRAMID_SIZE)."""
RPN_WIDTH = 512
HEAD_WIDTH = 1024
"""Units of the two fully connected layers of the classifier (config FPN_CLASSIF_FC_LAYERS_SIZE)."""
BOX_POOL, MASK_POOL, MASK_SIDE = 7, 14, 28
"""Sides of the pooled features of both heads and of a mask (config POOL_SIZE, MASK_POOL_SIZE, MASK_SHAPE)."""
BATCH_NORM_EPSILON = 1e-3
"""Keras' default, which Matterport's layers keep."""
MEAN_PIXEL = (123.7, 116.8, 103.9)
"""Subtracted from R, G, B (config MEAN_PIXEL)."""
BOX_STD = (0.1, 0.1, 0.2, 0.2)
"""Box deltas dy, dx, log dh, log dw are multiplied by it (config RPN_BBOX_STD_DEV, BBOX_STD_DEV)."""
PRE_NMS, PROPOSALS, PROPOSAL_IOU = 6000, 1000, 0.7
"""Anchors that enter the proposals' NMS, proposals that leave it, and its threshold (config
PRE_NMS_LIMIT, POST_NMS_ROIS_INFERENCE, RPN_NMS_THRESHOLD)."""
MAX_DETECTIONS = 100
"""Of one image (config DETECTION_MAX_INSTANCES)."""
RATIOS = (0.5, 1.0, 2.0)
"""Width to height of the anchors (config RPN_ANCHOR_RATIOS)."""

Weights = dict[tuple[str, str], NDArray[np.float32]]
"""(layer, tensor) -> values; see ``layers`` for the names and shapes."""
Kind = Literal["conv", "deconv", "dense", "batch_norm"]


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    Attributes:
        name: as Matterport names it.
        kind: of the layer.
        tensors: name -> shape. Kernels are height x width x in x out; those of ``deconv`` height x width x
            out x in, those of ``dense`` in x out.
    """

    name: str
    kind: Kind
    tensors: dict[str, tuple[int, ...]]


def layers(classes: int = COCO_CLASSES) -> list[Layer]:
    """All 235 layers in the order of the forward pass.

    Args:
        classes: background included.
    """
    return [*_backbone(), *_pyramid(), *_rpn(), *_box_head(classes), *_mask_head(classes)]


def tensor_shapes(classes: int = COCO_CLASSES) -> dict[tuple[str, str], tuple[int, ...]]:
    """(layer, tensor) -> shape: 690 tensors, 64,158,584 numbers with COCO's classes."""
    table = layers(classes)
    return {(layer.name, name): shape for layer in table for name, shape in layer.tensors.items()}


def _conv(name: str, side: int, inputs: int, outputs: int) -> Layer:
    return Layer(name, "conv", {"kernel": (side, side, inputs, outputs), "bias": (outputs,)})


def _dense(name: str, inputs: int, outputs: int) -> Layer:
    return Layer(name, "dense", {"kernel": (inputs, outputs), "bias": (outputs,)})


def _batch_norm(name: str, width: int) -> Layer:
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return Layer(name, "batch_norm", dict.fromkeys(names, (width,)))


def block_names(stage: int) -> list[str]:
    """Names of a stage's residual blocks: ``4a``, ``4b`` ... ``4w``."""
    return [f"{stage}{chr(ord('a') + number)}" for number in range(BLOCKS[stage])]


def _backbone() -> Iterator[Layer]:
    yield from (_conv("conv1", 7, 3, 64), _batch_norm("bn_conv1", 64))
    inputs = 64
    for stage, (inner, outputs) in STAGE_WIDTHS.items():
        for block in block_names(stage):
            branches = [("2a", 1, inputs, inner), ("2b", 3, inner, inner), ("2c", 1, inner, outputs)]
            if block.endswith("a"):
                branches.append(("1", 1, inputs, outputs))
            for branch, side, of, to in branches:
                yield _conv(f"res{block}_branch{branch}", side, of, to)
                yield _batch_norm(f"bn{block}_branch{branch}", to)
            inputs = outputs


def _pyramid() -> Iterator[Layer]:
    for stage in (5, 4, 3, 2):
        yield _conv(f"fpn_c{stage}p{stage}", 1, STAGE_WIDTHS[stage][1], PYRAMID_WIDTH)
    for level in (2, 3, 4, 5):
        yield _conv(f"fpn_p{level}", 3, PYRAMID_WIDTH, PYRAMID_WIDTH)


def _rpn() -> Iterator[Layer]:
    yield _conv("rpn_conv_shared", 3, PYRAMID_WIDTH, RPN_WIDTH)
    yield _conv("rpn_class_raw", 1, RPN_WIDTH, 2 * len(RATIOS))
    yield _conv("rpn_bbox_pred", 1, RPN_WIDTH, 4 * len(RATIOS))


def _box_head(classes: int) -> Iterator[Layer]:
    yield _conv("mrcnn_class_conv1", BOX_POOL, PYRAMID_WIDTH, HEAD_WIDTH)
    yield _batch_norm("mrcnn_class_bn1", HEAD_WIDTH)
    yield _conv("mrcnn_class_conv2", 1, HEAD_WIDTH, HEAD_WIDTH)
    yield _batch_norm("mrcnn_class_bn2", HEAD_WIDTH)
    yield _dense("mrcnn_class_logits", HEAD_WIDTH, classes)
    yield _dense("mrcnn_bbox_fc", HEAD_WIDTH, 4 * classes)


def _mask_head(classes: int) -> Iterator[Layer]:
    for number in (1, 2, 3, 4):
        yield _conv(f"mrcnn_mask_conv{number}", 3, PYRAMID_WIDTH, PYRAMID_WIDTH)
        yield _batch_norm(f"mrcnn_mask_bn{number}", PYRAMID_WIDTH)
    deconv = {"kernel": (2, 2, PYRAMID_WIDTH, PYRAMID_WIDTH), "bias": (PYRAMID_WIDTH,)}
    yield Layer("mrcnn_mask_deconv", "deconv", deconv)
    yield _conv("mrcnn_mask", 1, PYRAMID_WIDTH, classes)
