"""The teacher ``matterport``: Mask R-CNN as the report behind hardpose used it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from broker.recipe import ModelSpec
from broker.settings import Plain
from workers.apart import checked_apart
from workers.batching import Batches
from workers.cards import ModelCard
from workers.compute import Compute
from workers.contracts import Image, Instance
from workers.downloads.files import file_sha256
from workers.masks.matterport.architecture import COCO_CLASSES, PERSON, layers, tensor_shapes
from workers.masks.matterport.card import CARD
from workers.masks.matterport.detections import Detections
from workers.masks.matterport.graph import BUILDER, write_graph
from workers.masks.matterport.h5 import read_h5
from workers.masks.matterport.onnx_network import OnnxMaskRCNN
from workers.masks.matterport.options import MatterportOptions, checked_options
from workers.masks.matterport.preprocess import Square, to_square
from workers.masks.matterport.unmold import edge_pixels, frame_boxes, frame_mask
from workers.models import Weights, only_weights
from workers.options import option_values


class MaskRCNN(Protocol):
    """The network on one of the runtimes."""

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        ...

    def detect(self, images: NDArray[np.float32], windows: NDArray[np.float32]) -> list[Detections]:
        """The instances of each image, at least the people: see ``OnnxMaskRCNN.detect``."""
        ...


class Matterport:
    """Segments people with Mask R-CNN. Implements ``workers.contracts.Teacher``; not thread-safe.

    Args:
        spec: see ``default_spec``; its one weights file is Matterport's ``.h5``, for either runtime.
        weights: the weights store, asked in ``load`` only.
        compute: providers, threads and batch.

    Raises:
        SettingsError: an option of ``spec`` is unknown, of the wrong type or cannot be used.
    """

    card: ClassVar[ModelCard] = CARD

    def __init__(self, spec: ModelSpec, weights: Weights, compute: Compute) -> None:
        self._spec, self._weights, self._compute = spec, weights, compute
        self._options = checked_options(spec)
        self._network: MaskRCNN | None = None
        self._batches = Batches(spec.name, compute.batch or 1)

    @classmethod
    def default_spec(cls) -> ModelSpec:
        """The default options; the weights are those that the user adds."""
        return ModelSpec(name="matterport", version="none", options=option_values(MatterportOptions()))

    @classmethod
    def check_weights(cls, path: Path) -> str:
        """Reads every tensor, in a process of its own; says what is in the file.

        Raises:
            WeightsDamaged, ModelMismatch: see ``read_h5``; a file that crashes its reader is damaged too.
        """
        return checked_apart(describe, path)

    @classmethod
    def export(cls, path: Path, to: Path, options: Mapping[str, Plain]) -> None:
        """Writes the network, for people alone, as an ONNX file; see ``write_graph`` for how to feed it.

        Args:
            path: of the ``.h5`` file.
            to: of the file to write.
            options: of the model; ``precision`` and ``image_size`` matter.

        Raises:
            WeightsDamaged, ModelMismatch: see ``read_h5``.
            SettingsError: an option is unknown, of the wrong type or cannot be used.
        """
        given = cls.default_spec().model_copy(update={"options": dict(options)})
        _convert(path, to, checked_options(given), path.name, file_sha256(path))

    @property
    def batch_size(self) -> int:
        """1 on a CPU, 8 on a GPU, or what ``compute`` says; halved where that did not fit."""
        return self._batches.size

    def load(self) -> None:
        """Loads the network, for ONNX Runtime converted once; a second call does nothing.

        Raises:
            WeightsError: the user has not brought the file.
            WeightsDamaged, ModelMismatch: see ``read_h5``.
            MissingDependency: the runtime is not installed.
            NoProvider, OutOfMemory: see ``OnnxModel``.
        """
        if self._network is not None:
            return
        cv2.setNumThreads(self._compute.threads)
        on_tensorflow = self._options.runtime == "tensorflow"
        network = self._on_tensorflow() if on_tensorflow else self._on_onnx_runtime()
        self._batches.size = self._compute.batch_on(network.on_gpu)
        self._network = network

    def segment(self, images: Sequence[Image], second_look: bool) -> list[list[Instance]]:  # noqa: ARG002
        """The people of each image, the largest mask first.

        Args:
            images: H x W x 3 uint8 RGB, of any sizes.
            second_look: no effect: the one look searches the whole frame at every scale for everyone.

        Returns:
            Each with the network's score, ``side`` the longer side of its box, and ``measures``
            box_height and box_width in pixels. ``edge_pixels`` is what the edge of the network's small mask
            says where its box ends at the frame. A person none of whose pixels reaches 0.5 is left out. The
            stability is 1.0, because the network looks once.

        Raises:
            ImageFailed: an image is empty or extremely narrow, or the network's answer is not a number.
            OutOfMemory: not even one image fits.
        """
        self.load()
        return self._batches.run(images, self._segment)

    def _segment(self, images: Sequence[Image]) -> list[list[Instance]]:
        assert self._network is not None
        squares = [to_square(image, self._options.image_size) for image in images]
        pixels, windows = (
            np.stack(column) for column in zip(*((s.image, s.window) for s in squares), strict=True)
        )
        found = self._network.detect(pixels, windows)
        return [self._people(*row) for row in zip(found, squares, images, strict=True)]

    def _people(self, found: Detections, square: Square, image: Image) -> list[Instance]:
        height, width = image.shape[:2]
        people = np.flatnonzero(found.class_ids == PERSON)[: self._options.max_people]
        size = self._options.image_size
        boxes = frame_boxes(found.boxes[people], square.window, size, height, width)
        instances = []
        for row, box in zip(people, boxes, strict=True):
            mask = frame_mask(found.masks[row], box, height, width)
            sides = {"box_height": float(box[2] - box[0]), "box_width": float(box[3] - box[1])}
            if mask.any():
                cut, side = edge_pixels(found.masks[row], box, height, width), max(sides.values())
                score = float(found.scores[row])
                instances.append(Instance(mask, score, side=side, edge_pixels=cut, measures=sides))
        return sorted(instances, key=lambda instance: -int(np.count_nonzero(instance.mask)))

    def _on_onnx_runtime(self) -> MaskRCNN:
        o, ref = self._options, only_weights(self._spec)
        name = f"matterport-person-{o.precision}-{o.image_size}-{BUILDER}.onnx"

        def make(path: Path, to: Path) -> None:
            _convert(path, to, o, ref.file, ref.sha256)

        path = self._weights.derived(ref, name, make)
        return OnnxMaskRCNN(path, o.min_score, o.nms_iou, self._compute, o.precision == "fp16")

    def _on_tensorflow(self) -> MaskRCNN:
        # Imports nothing heavy itself, but exists for this runtime alone.
        from workers.masks.matterport.keras_network import KerasMaskRCNN

        o, path = self._options, self._weights.path(only_weights(self._spec))
        return KerasMaskRCNN(path, o.image_size, o.min_score, o.nms_iou, self._compute, o.precision)


def describe(path: Path) -> str:
    """Reads every tensor; says what is in the file.

    Raises:
        WeightsDamaged, ModelMismatch: see ``read_h5``.
    """
    read_h5(path)
    shapes = tensor_shapes()
    numbers = sum(math.prod(shape) for shape in shapes.values())
    return (
        f"Mask R-CNN on ResNet-101 with {COCO_CLASSES} classes: {len(layers())} layers, {len(shapes)} "
        f"tensors, {numbers} numbers"
    )


def _convert(path: Path, to: Path, options: MatterportOptions, file: str, sha256: str) -> None:
    notes = CARD.notes(file, sha256)
    half = options.precision == "fp16"
    write_graph(read_h5(path), to, options.image_size, half, person_only=True, notes=notes)
