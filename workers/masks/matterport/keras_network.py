"""Matterport's Mask R-CNN on TensorFlow through Keras 3; the only module that imports either.

Both are imported when a network is made, in the process that uses it: TensorFlow does not survive a fork.
"""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from broker.errors import MissingDependency, SettingsError
from workers.compute import Compute
from workers.errors import ImageFailed, ModelMismatch, NoProvider, OutOfMemory
from workers.masks.matterport.architecture import COCO_CLASSES, Weights
from workers.masks.matterport.detections import Detections
from workers.masks.matterport.h5 import read_h5
from workers.masks.matterport.keras_layers import Networks
from workers.masks.matterport.tensorflow_boxes import inference
from workers.onnx_runtime import MEMORY_WORDS

log = logging.getLogger(__name__)

POLICIES = {"fp32": "float32", "fp16": "mixed_float16"}
"""Our names for Keras' dtype policies. The second computes the convolutions in float16 and keeps the weights,
the decoding of boxes and the NMS in float32."""


class KerasMaskRCNN:
    """Mask R-CNN with Matterport's weights in TensorFlow. Not thread-safe.

    Args:
        h5_path: the official file, or another of the same architecture.
        image_size: side of the square input in pixels, a multiple of 64.
        min_score: least probability of a detection's class.
        nms_iou: detections of one class that overlap by more are one.
        compute: threads; providers: "cuda" wants a GPU, "cpu" hides it, none takes one where there is one.
        precision: "fp32" or "fp16".
        classes: that the file tells apart, background included.

    Raises:
        MissingDependency: TensorFlow is not installed, or Keras runs on another backend.
        NoProvider: a GPU was asked for and TensorFlow sees none.
        WeightsDamaged, ModelMismatch: see ``read_h5``.
        OutOfMemory: the network alone does not fit.
        SettingsError: no such precision.
    """

    def __init__(
        self,
        h5_path: Path,
        image_size: int,
        min_score: float,
        nms_iou: float,
        compute: Compute,
        precision: str = "fp32",
        classes: int = COCO_CLASSES,
    ) -> None:
        if precision not in POLICIES:
            raise SettingsError(
                f"The precision of Mask R-CNN on TensorFlow is {precision!r}.",
                f"Give one of: {', '.join(POLICIES)}.",
            )
        self._tf, keras = _libraries()
        self._device = _device(self._tf, compute)
        weights = read_h5(h5_path, classes)
        with self._tf.device(self._device), self._typed_errors(1):
            nets = Networks(keras, POLICIES[precision], classes)
            _fill(nets, weights, h5_path)
            self._find = inference(self._tf, nets, image_size, min_score, nms_iou)

    @property
    def on_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return "GPU" in self._device

    def detect(self, images: NDArray[np.float32], windows: NDArray[np.float32]) -> list[Detections]:
        """The instances of every class in each image.

        Args:
            images: N x S x S x 3, RGB, 0 to 255, S the ``image_size``; the mean pixel is taken off here.
            windows: N x 4: y1, x1, y2, x2 in pixels: where the frame lies in its square.

        Raises:
            OutOfMemory: they do not fit; fewer may.
            ImageFailed: the arithmetic overflowed.
        """
        tf = self._tf
        with tf.device(self._device), self._typed_errors(len(images)):
            answers = self._find(tf.constant(images, tf.float32), tf.constant(windows, tf.float32))
            boxes, class_ids, scores, index, masks, broken = (answer.numpy() for answer in answers)
        if broken:
            raise ImageFailed(
                f"{int(broken)} features or scores of Mask R-CNN are not finite on a batch of {len(images)}.",
                "Set the model's option precision to fp32; if it is that already, the weights are damaged.",
            )
        masks = masks[: len(scores)]  # without their padding
        rows = [index == number for number in range(len(images))]
        return [
            Detections(boxes[own], class_ids[own].astype(np.int64), scores[own], masks[own]) for own in rows
        ]

    def _typed_errors(self, images: int) -> "_TypedErrors":
        return _TypedErrors(self._tf, images)


class _TypedErrors:
    """Turns TensorFlow's words for a lack of memory into ``OutOfMemory``."""

    def __init__(self, tf: Any, images: int) -> None:
        self._errors, self._images = tf.errors, images

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, self._errors.OpError):
            return
        words = " ".join(str(error).split())[:300]
        exhausted = isinstance(error, self._errors.ResourceExhaustedError)
        # cuDNN and cuBLAS say so in errors of other kinds.
        if exhausted or any(sign in words.lower() for sign in MEMORY_WORDS):
            raise OutOfMemory(
                f"TensorFlow ran out of memory with {self._images} images: {words}.",
                "Give the process a GPU with more free memory (HARDPOSE_GPU), a smaller image_size or "
                "precision fp16 in the model's options.",
            ) from error


def _libraries() -> tuple[Any, Any]:
    """TensorFlow and Keras, imported quietly."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read once, when its library is loaded
    os.environ["KERAS_BACKEND"] = "tensorflow"  # stands above the user's keras.json
    try:
        import keras
        import tensorflow
    except ImportError as error:
        raise MissingDependency(
            f"TensorFlow, which the option runtime=tensorflow needs, cannot be imported: {error}.",
            "Install it in an environment of its own: pip install 'hardpose[tensorflow]', or "
            "'hardpose[tensorflow-gpu]' on a machine with a GPU; or set runtime to onnxruntime.",
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise MissingDependency(
            f"Keras was already running on {keras.backend.backend()} in this process.",
            "Run the teacher in a process of its own.",
        )
    return tensorflow, keras


def _device(tf: Any, compute: Compute) -> str:
    """The device to compute on, with TensorFlow told what it may take of the machine."""
    gpus = tf.config.list_physical_devices("GPU")
    wants_gpu = any(name != "cpu" for name in compute.providers)
    if wants_gpu and not gpus:
        raise NoProvider(
            f"The providers {', '.join(compute.providers)} were asked for, and TensorFlow sees no GPU.",
            "Install the GPU build in an environment of its own: pip install 'hardpose[tensorflow-gpu]', "
            "look at HARDPOSE_GPU, or set HARDPOSE_COMPUTE__PROVIDERS='[\"cpu\"]'.",
        )
    on_gpu = bool(gpus) and (wants_gpu or not compute.providers)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(compute.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        if on_gpu and compute.memory is not None:
            # Taken at once; growth and a limit exclude each other (TensorFlow guide, "Use a GPU").
            limit = tf.config.LogicalDeviceConfiguration(memory_limit=compute.memory // 1024**2)
            tf.config.set_logical_device_configuration(gpus[0], [limit])
        elif on_gpu:
            # Else the first network takes the whole GPU and leaves nothing to the other stages.
            tf.config.experimental.set_memory_growth(gpus[0], True)
        elif gpus:
            tf.config.set_visible_devices([], "GPU")
    except RuntimeError as error:
        # Only the first network of a process can say this; the device below holds in any case.
        log.warning("TensorFlow keeps what this process told it before: %s", error)
    return "/GPU:0" if on_gpu else "/CPU:0"


def _fill(nets: Networks, weights: Weights, path: Path) -> None:
    """Sets every variable of every layer; afterwards nothing is left over."""
    left = set(weights)
    for layer in nets.with_weights():
        keys = [(str(layer.name), str(variable.name).split("/")[-1]) for variable in layer.weights]
        layer.set_weights([weights[key] for key in keys])
        left.difference_update(keys)
    if left:
        raise ModelMismatch(
            f"{path.name} has {len(left)} tensors that the network on TensorFlow has no place for: "
            f"{', '.join('/'.join(key) for key in sorted(left)[:10])}.",
            "This is a defect of hardpose, or of the installed Keras; use runtime onnxruntime.",
        )
