"""The embedded pose model: BlazePose on LiteRT, answering in BODY_25."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from broker.recipe import ModelSpec
from workers.compute import Compute
from workers.contracts import Image, Person
from workers.embedded_weights import DETECTOR, LANDMARKER, VERSION
from workers.models import Weights
from workers.options import option_values, read_options
from workers.pose.blazepose_landmarks import Landmarks
from workers.pose.body25 import from_blazepose
from workers.pose.geometry import person_box
from workers.pose.people import PeopleFinder


@dataclass(frozen=True)
class PoseOptions:
    """Thresholds of the pose model; chosen on photos and DAVIS sequences, so defaults and not truths.

    Attributes:
        min_detection: least probability of a detection.
        nms_iou: detections that overlap by more are one.
        min_score: least pose presence of a person.
        min_presence: least presence of a landmark; below it its confidence is 0.
        merge_overlap: two detections are one person when one mask lies in the other by this share.
    """

    min_detection: float = 0.5
    nms_iou: float = 0.3
    min_score: float = 0.9
    min_presence: float = 0.5
    merge_overlap: float = 0.6


class BlazePose:
    """Finds people with BlazePose. Implements ``workers.contracts.PoseModel``; not thread-safe.

    Args:
        spec: see ``default_spec``.
        weights: the weights store, asked in ``load`` only.
        compute: its threads, of the networks and of OpenCV.

    Raises:
        SettingsError: an option of ``spec`` is unknown or of the wrong type.
    """

    runtime: ClassVar[str] = "litert"
    """It computes on the CPU alone."""

    def __init__(self, spec: ModelSpec, weights: Weights, compute: Compute) -> None:
        self._spec, self._weights, self._threads = spec, weights, compute.threads
        self._options = read_options(PoseOptions, spec)
        self._finder: PeopleFinder | None = None

    @classmethod
    def default_spec(cls) -> ModelSpec:
        """The pinned weights and the default thresholds."""
        return ModelSpec(
            name="blazepose",
            version=VERSION,
            weights=(DETECTOR, LANDMARKER),
            options=option_values(PoseOptions()),
        )

    @property
    def batch_size(self) -> int:
        """1: the networks look at one image."""
        return 1

    def load(self) -> None:
        """Loads both networks; a second call does nothing.

        Raises:
            WeightsError: the weights could not be fetched.
            MissingDependency: LiteRT is not installed.
            ModelMismatch: the weights are of other networks.
        """
        if self._finder is None:
            self._finder = PeopleFinder(self._spec, self._weights, self._threads)

    def find_people(self, images: Sequence[Image]) -> list[list[Person]]:
        """The people of each image (H x W x 3 uint8 RGB), best score first."""
        return [self._find(image) for image in images]

    def _find(self, image: Image) -> list[Person]:
        self.load()
        assert self._finder is not None
        o = self._options
        found = self._finder.find(image, o.min_detection, o.nms_iou, o.min_score, o.merge_overlap)
        return [self._person(landmarks, image.shape[0], image.shape[1]) for landmarks in found]

    def _person(self, found: Landmarks, height: int, width: int) -> Person:
        keypoints = from_blazepose(found.xy, found.visibility, found.presence, self._options.min_presence)
        inside = found.xy[:33][found.presence[:33] >= self._options.min_presence]
        box = person_box(inside if len(inside) else found.xy[:33], height, width)
        return Person(keypoints=keypoints, box=box, score=min(1.0, found.score))
