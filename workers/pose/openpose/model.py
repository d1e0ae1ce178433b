"""OpenPose's two body models on ONNX Runtime, from the weights that the user brings."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import cv2

from broker.recipe import ModelSpec, WeightsRef
from broker.settings import Plain
from workers.batching import Batches
from workers.cards import ModelCard
from workers.compute import Compute
from workers.contracts import Image, Person
from workers.downloads.files import file_sha256
from workers.models import Weights, only_weights
from workers.onnx_runtime import OnnxModel, as_float32
from workers.options import option_values
from workers.pose.geometry import Floats
from workers.pose.openpose import cards
from workers.pose.openpose.answers import answered, person
from workers.pose.openpose.assembly import find_people
from workers.pose.openpose.caffemodel import read_caffemodel
from workers.pose.openpose.model_options import OpenPoseOptions, checked_options
from workers.pose.openpose.network import BUILDER_VERSION, build_network, fitted
from workers.pose.openpose.preprocess import Prepared, prepare
from workers.pose.openpose.skeletons import BODY_25, COCO_18, Skeleton


class OpenPose:
    """Finds people with one of OpenPose's networks. Implements ``workers.contracts.PoseModel``.

    The subclasses say which. Not thread-safe.

    Args:
        spec: see ``default_spec``; with the caffemodel as its one weights file.
        weights: the weights store, asked in ``load`` only.
        compute: providers, threads of the network and of OpenCV, and images in a call.

    Raises:
        SettingsError: an option of ``spec`` is unknown, of the wrong type or out of range.
    """

    name: ClassVar[str]
    runtime: ClassVar[str] = "onnxruntime"
    skeleton: ClassVar[Skeleton]
    card: ClassVar[ModelCard]
    answers: ClassVar[frozenset[int]]
    """The BODY_25 points that the model can give."""

    def __init__(self, spec: ModelSpec, weights: Weights, compute: Compute) -> None:
        self._spec, self._weights, self._compute = spec, weights, compute
        self._options = checked_options(spec)
        self._network: OnnxModel | None = None
        self._batches = Batches(spec.name, compute.batch or 1)

    @classmethod
    def default_spec(cls) -> ModelSpec:
        """The default options; the weights are those that the user has added."""
        return ModelSpec(name=cls.name, version="none", options=option_values(OpenPoseOptions()))

    @classmethod
    def check_weights(cls, path: Path) -> str:
        """Reads the whole caffemodel strictly; says in one line what is in it.

        Raises:
            WeightsDamaged: it is cut off or no caffemodel.
            ModelMismatch: it holds another network; names what is missing, left over or of another shape.
        """
        tensors = fitted(cls.skeleton, read_caffemodel(path))
        values = sum(array.size for arrays in tensors.values() for array in arrays)
        return f"OpenPose {cls.skeleton.name}: {len(tensors)} layers with {values} weights"

    @classmethod
    def export(cls, path: Path, to: Path, options: Mapping[str, Plain]) -> None:
        """Writes the network as an ONNX file that runs without hardpose; see ``build_network``.

        Args:
            path: of the caffemodel.
            to: of the file to write.
            options: of the model; ``precision`` is the one that matters.

        Raises:
            WeightsDamaged: ``path`` is cut off or no caffemodel.
            ModelMismatch: it holds another network.
            SettingsError: an option is unknown, of the wrong type or out of range.
        """
        given = cls.default_spec().model_copy(update={"options": dict(options)})
        half = checked_options(given).precision == "fp16"
        cls._convert(path, to, half, path.name, file_sha256(path))

    @classmethod
    def _convert(cls, path: Path, to: Path, half: bool, file: str, sha256: str) -> None:
        notes = cls.card.notes(file, sha256)
        build_network(cls.skeleton, read_caffemodel(path), to, half, notes)

    @property
    def batch_size(self) -> int:
        """Images that one call is best given: 1 on a CPU, 8 on a GPU; halved where they do not fit."""
        return self._batches.size

    def load(self) -> None:
        """Converts the weights, once on this machine, and loads the network; a second call does nothing.

        Raises:
            WeightsError: the weights are not here.
            WeightsDamaged: they are no caffemodel.
            ModelMismatch: they are of another network.
            MissingDependency: a package is not installed.
            NoProvider: the GPU that was asked for is not here.
        """
        if self._network is not None:
            return
        cv2.setNumThreads(self._compute.threads)
        path = self._converted(only_weights(self._spec))
        half = self._options.precision == "fp16"
        network = OnnxModel(path, self._compute, half, path.parent / "engines")
        self._batches.size = self._compute.batch_on(network.on_gpu)
        # Last, so that a time limit on the way leaves nothing half done.
        self._network = network

    def _converted(self, ref: WeightsRef) -> Path:
        precision = self._options.precision
        name = f"openpose-{self.skeleton.name}-{precision}-{BUILDER_VERSION}.onnx"

        def make(path: Path, to: Path) -> None:
            self._convert(path, to, precision == "fp16", ref.file, ref.sha256)

        return self._weights.derived(ref, name, make)

    def find_people(self, images: Sequence[Image]) -> list[list[Person]]:
        """The people of each image (H x W x 3 uint8 RGB, of any sizes), best score first.

        A stage's time limit is an exception in the main thread: it comes after the network's call that runs,
        and leaves the model as it was.

        Raises:
            ImageFailed: an image is so wide that no network can be made for it, or what the network answers
                is no finite number.
            OutOfMemory: one image alone does not fit.
        """
        self.load()
        by_size = defaultdict(list)
        for number, image in enumerate(images):
            by_size[image.shape].append(number)
        people: dict[int, list[Person]] = {}
        for numbers in by_size.values():
            found = self._batches.run([images[number] for number in numbers], self._find)
            people.update(zip(numbers, found, strict=True))
        return [people[number] for number in range(len(images))]

    def _find(self, images: Sequence[Image]) -> list[list[Person]]:
        """The people of images of one size."""
        assert self._network is not None
        o = self._options
        prepared = prepare(images, o.net_height, o.max_net_width)
        maps = self._network.run({"image": prepared.images}, "heatmaps", "pafs")
        return [
            self._people(as_float32(heatmaps), as_float32(pafs), image, prepared)
            for heatmaps, pafs, image in zip(*maps, images, strict=True)
        ]

    def _people(self, heatmaps: Floats, pafs: Floats, image: Image, prepared: Prepared) -> list[Person]:
        height, width = image.shape[:2]
        # Half a pixel of the frame, because OpenPose counts a frame's pixels from their corners.
        offset = 0.5 / prepared.to_frame
        found = find_people(heatmaps, pafs, self.skeleton, self._options, prepared.net_size, offset)
        return [person(one, self.skeleton, prepared.to_frame, height, width) for one in found]


class OpenPoseBody25(OpenPose):
    """OpenPose's BODY_25 network: 25 points with mid-hip and feet."""

    name = "openpose-body25"
    skeleton = BODY_25
    card = cards.BODY_25
    answers = answered(BODY_25)


class OpenPoseCoco18(OpenPose):
    """OpenPose's COCO network: 18 points, without toes and heels; the mid-hip lies between the hips."""

    name = "openpose-coco18"
    skeleton = COCO_18
    card = cards.COCO_18
    answers = answered(COCO_18)
