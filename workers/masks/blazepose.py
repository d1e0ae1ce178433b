"""The embedded teacher: BlazePose's mask, looked at three times, and a search for further people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from broker.recipe import ModelSpec
from workers.compute import Compute
from workers.contracts import Image, Instance, Mask
from workers.embedded_weights import DETECTOR, LANDMARKER, VERSION
from workers.masks.tile_veto import VetoOptions, other_people
from workers.models import Weights
from workers.options import option_values, read_options
from workers.pose.blazepose_landmarks import Landmarks, pose_agreement
from workers.pose.geometry import mask_iou, person_box
from workers.pose.people import PeopleFinder


@dataclass(frozen=True)
class TeacherOptions(VetoOptions):
    """Thresholds of the teacher; chosen on photos and DAVIS sequences, so defaults and not truths.

    Attributes:
        min_detection: least probability of a detection in the whole frame.
        nms_iou: detections that overlap by more are one.
        min_score: least pose presence of a person found in the whole frame.
        merge_overlap: two detections are one person when one mask lies in the other by this share.
        min_pose_cover: least share of the mask inside the box around the pose. Below it the pose does
            not explain the body, and the stability is 0: measured at least 0.92 on whole bodies, at most
            0.86 on a cloaked figure behind a black bar whose legs were made up.
    """

    min_detection: float = 0.5
    nms_iou: float = 0.3
    min_score: float = 0.9
    merge_overlap: float = 0.6
    min_pose_cover: float = 0.88


class BlazePoseTeacher:
    """Segments people with BlazePose. Implements ``workers.contracts.Teacher``; not thread-safe.

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
        self._options = read_options(TeacherOptions, spec)
        self._finder: PeopleFinder | None = None

    @classmethod
    def default_spec(cls) -> ModelSpec:
        """The pinned weights and the default thresholds."""
        return ModelSpec(
            name="blazepose",
            version=VERSION,
            weights=(DETECTOR, LANDMARKER),
            options=option_values(TeacherOptions()),
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

    def segment(self, images: Sequence[Image], second_look: bool) -> list[list[Instance]]:
        """The people of each image, the largest first.

        Args:
            images: H x W x 3 uint8 RGB.
            second_look: also search tiles of the image for people that one look misses; they follow
                the others, with ``measures`` detection, presence (pose presence), agreement (of their
                pose with the main one), overlap (share of their mask in the main one) and area_share
                (their area outside it over the main area).
        """
        return [self._segment(image, second_look) for image in images]

    def _segment(self, image: Image, second_look: bool) -> list[Instance]:
        self.load()
        assert self._finder is not None
        finder, o = self._finder, self._options
        people = finder.find(image, o.min_detection, o.nms_iou, o.min_score, o.merge_overlap)
        instances = [look_again(finder, image, person, o.min_pose_cover) for person in people]
        instances.sort(key=lambda instance: -int(np.count_nonzero(instance.mask)))
        if second_look and len(instances) == 1:
            instances += other_people(finder, image, people[0], instances[0].mask, o)
        return instances


def look_again(finder: PeopleFinder, image: Image, first: Landmarks, min_pose_cover: float = 0.0) -> Instance:
    """The final mask of a person: the mean of a second pass and its mirror image, above one half.

    ``stability`` is the least of IoU(first, second), IoU(second, mirrored) and the agreement of the
    poses of first and second. At 0.85 the two IoUs halve the share of bad teachers among hard frames
    (measured on 255 frames with ground truth); the poses disagree where a body was made up, as on a
    cloaked or blurred figure, although the mask is stable. It is 0 when less than ``min_pose_cover`` of
    the mask lies in the box around the first pose.
    """
    height, width = image.shape[:2]
    # A second pass that loses the person has nothing to add to the first.
    roi = first.next_roi if first.next_roi.is_usable() else first.roi
    second = finder.landmarker.look(image, roi)
    straight = second.frame_probability(height, width)
    mirrored = roi.paste(finder.landmarker.mirrored_mask(image, roi), width, height)
    between_passes = mask_iou(first.frame_mask(height, width), straight > 0.5)
    between_mirrors = mask_iou(straight > 0.5, mirrored > 0.5)
    poses = pose_agreement(first, second)
    mask = (straight + mirrored) / 2 > 0.5
    cover = pose_cover(first, mask)
    return Instance(
        mask=mask,
        score=min(1.0, first.score),
        stability=min(between_passes, between_mirrors, poses) if cover >= min_pose_cover else 0.0,
        side=roi.side,
        measures={
            "presence": first.score,
            "iou_passes": between_passes,
            "iou_mirrored": between_mirrors,
            "pose_agreement": poses,
            "pose_cover": cover,
        },
    )


def pose_cover(pose: Landmarks, mask: Mask) -> float:
    """Share of ``mask`` (H x W bool) in the box around the pose; 1 for an empty mask."""
    area = int(np.count_nonzero(mask))
    x0, y0, x1, y1 = (int(side) for side in person_box(pose.xy[:33], *mask.shape))
    return int(np.count_nonzero(mask[y0 : y1 + 1, x0 : x1 + 1])) / area if area else 1.0
