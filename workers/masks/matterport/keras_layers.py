"""The parts of Mask R-CNN that have weights, as Keras models, from the Keras that is handed in.

Source: Matterport Mask R-CNN, model (MIT): names, strides, paddings and biases.
"""

from collections.abc import Callable, Sequence
from typing import Any

from workers.masks.matterport.architecture import (
    BATCH_NORM_EPSILON,
    BOX_POOL,
    MASK_POOL,
    PYRAMID_WIDTH,
    STAGE_WIDTHS,
    block_names,
    tensor_shapes,
)


class Networks:
    """Trunk, RPN, box head and mask head; every input and output is float32, channels last.

    Attributes:
        trunk: B x S x S x 3 with the mean pixel taken off -> P2 to P6, B x s x s x 256.
        rpn: one level -> B x A probabilities of an object and B x A x 4 deltas, A by row, column, ratio.
        box: N x 7 x 7 x 256 -> N x classes probabilities and N x classes x 4 deltas.
        mask: N x 14 x 14 x 256 -> N x 28 x 28 x classes probabilities.

    Args:
        keras: the module.
        policy: Keras' dtype policy of every layer with weights, such as ``float32``.
        classes: that the heads tell apart, background included.
    """

    def __init__(self, keras: Any, policy: str, classes: int) -> None:
        self._keras, self._layers = keras, keras.layers
        self._policy, self._classes = policy, classes
        self._shapes = tensor_shapes(classes)
        self.trunk = self._model("trunk", (None, None, 3), self._trunk)
        self.rpn = self._model("rpn_model", (None, None, PYRAMID_WIDTH), self._rpn)
        self.box = self._model("box", (BOX_POOL, BOX_POOL, PYRAMID_WIDTH), self._box)
        self.mask = self._model("mask", (MASK_POOL, MASK_POOL, PYRAMID_WIDTH), self._mask)

    def with_weights(self) -> list[Any]:
        """Every Keras layer that has weights."""
        models = (self.trunk, self.rpn, self.box, self.mask)
        return [layer for model in models for layer in model.layers if layer.weights]

    def _model(self, name: str, shape: tuple[int | None, ...], body: Callable[[Any], Any]) -> Any:
        given = self._keras.Input(shape)
        return self._keras.Model(given, body(given), name=name)

    def _conv(self, x: Any, name: str, stride: int = 1, padding: str = "same") -> Any:
        side, _, _, filters = self._shapes[name, "kernel"]
        make = self._layers.Conv2D
        return make(filters, side, strides=stride, padding=padding, name=name, dtype=self._policy)(x)

    def _dense(self, x: Any, name: str) -> Any:
        return self._layers.Dense(self._shapes[name, "kernel"][1], name=name, dtype=self._policy)(x)

    def _norm(self, x: Any, name: str) -> Any:
        make = self._layers.BatchNormalization
        return make(epsilon=BATCH_NORM_EPSILON, name=name, dtype=self._policy)(x, training=False)

    def _relu(self, x: Any) -> Any:
        return self._layers.ReLU(dtype=self._policy)(x)

    def _add(self, *values: Any) -> Any:
        return self._layers.Add(dtype=self._policy)(list(values))

    def _as_float32(self, x: Any) -> Any:
        return self._keras.ops.cast(x, "float32")

    def _trunk(self, image: Any) -> list[Any]:
        x = self._layers.ZeroPadding2D(3, dtype=self._policy)(image)
        x = self._relu(self._norm(self._conv(x, "conv1", 2, "valid"), "bn_conv1"))
        x = self._layers.MaxPooling2D(3, 2, padding="same", dtype=self._policy)(x)
        stages = []
        for stage in STAGE_WIDTHS:
            for block in block_names(stage):
                first = block.endswith("a")
                x = self._block(x, block, stride=2 if first and stage > 2 else 1, shortcut=first)
            stages.append(x)
        return [self._as_float32(level) for level in self._pyramid(stages)]

    def _block(self, x: Any, block: str, stride: int, shortcut: bool) -> Any:
        conv, norm, short = f"res{block}_branch", f"bn{block}_branch", x
        # Matterport's stride is in the first 1 x 1 convolution, not in the 3 x 3.
        x = self._relu(self._norm(self._conv(x, conv + "2a", stride), norm + "2a"))
        x = self._relu(self._norm(self._conv(x, conv + "2b"), norm + "2b"))
        x = self._norm(self._conv(x, conv + "2c"), norm + "2c")
        if shortcut:
            short = self._norm(self._conv(short, conv + "1", stride), norm + "1")
        return self._relu(self._add(x, short))

    def _pyramid(self, stages: Sequence[Any]) -> list[Any]:
        merged = [self._conv(stages[3], "fpn_c5p5")]
        for level in (4, 3, 2):
            above = self._layers.UpSampling2D(2, dtype=self._policy)(merged[-1])
            merged.append(self._add(above, self._conv(stages[level - 2], f"fpn_c{level}p{level}")))
        levels = [self._conv(merged[5 - level], f"fpn_p{level}") for level in (2, 3, 4, 5)]
        return [*levels, self._layers.MaxPooling2D(1, 2, dtype=self._policy)(levels[-1])]

    def _rpn(self, level: Any) -> list[Any]:
        shared = self._relu(self._conv(level, "rpn_conv_shared"))
        logits = self._layers.Reshape((-1, 2))(self._as_float32(self._conv(shared, "rpn_class_raw")))
        deltas = self._layers.Reshape((-1, 4))(self._as_float32(self._conv(shared, "rpn_bbox_pred")))
        return [self._keras.ops.softmax(logits)[..., 1], deltas]

    def _box(self, x: Any) -> list[Any]:
        for number in (1, 2):
            x = self._conv(x, f"mrcnn_class_conv{number}", padding="valid")
            x = self._relu(self._norm(x, f"mrcnn_class_bn{number}"))
        flat = self._layers.Flatten()(x)
        logits = self._as_float32(self._dense(flat, "mrcnn_class_logits"))
        deltas = self._as_float32(self._dense(flat, "mrcnn_bbox_fc"))
        return [self._keras.ops.softmax(logits), self._layers.Reshape((self._classes, 4))(deltas)]

    def _mask(self, x: Any) -> Any:
        for number in (1, 2, 3, 4):
            x = self._norm(self._conv(x, f"mrcnn_mask_conv{number}"), f"mrcnn_mask_bn{number}")
            x = self._relu(x)
        make, name = self._layers.Conv2DTranspose, "mrcnn_mask_deconv"
        x = self._relu(make(PYRAMID_WIDTH, 2, strides=2, name=name, dtype=self._policy)(x))
        return self._keras.ops.sigmoid(self._as_float32(self._conv(x, "mrcnn_mask")))
