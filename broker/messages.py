"""What travels: frozen pydantic models, JSON on the wire, versioned by a field.

Pixels do not travel here: a message holds the keys under which the artifact store holds them. The one
exception is a device that cannot reach the store (``InlinePicture``).
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from broker.errors import Action, FunnelMismatch, HardposeError
from broker.recipe import MESSAGE_VERSION, Frozen, Recipe, Stage, Version


class Verdict(StrEnum):
    """What became of an examined frame. Every examined frame has exactly one.

    The comment behind each verdict names the measured ``value`` that is kept with it.
    """

    NO_PERSON = "no_person"  # people found: 0
    SEVERAL_PEOPLE = "several_people"  # people found
    NO_HEAD = "no_head"  # best confidence among the head points
    NO_HANDS = "no_hands"  # lower confidence of the two wrists
    NO_FEET = "no_feet"  # lower of the two feet's best toe confidence
    CUT_BY_FRAME = "cut_by_frame"  # smallest margin over body extent, or mask contact over person side
    TOO_SOON = "too_soon"  # milliseconds since the last kept frame
    NEAR_DUPLICATE = "near_duplicate"  # pose distance to the kept frame it repeats
    BLURRED = "blurred"  # variance of the Laplacian over the person box
    TEACHER_NONE = "teacher_none"  # teacher's instances: 0
    TEACHER_SEVERAL = "teacher_several"  # teacher's instances
    TEACHER_DOUBT = "teacher_doubt"  # the measure that failed (see Keeper.measures)
    EASY = "easy"  # IoU
    HARD = "hard"  # IoU
    FAILED = "failed"  # -1: the frame could not be decoded or processed


class Video(Frozen):
    """A fetched video: where it came from, what it is, where its bytes are."""

    id: str = Field(pattern=r"^[a-z0-9]+:[A-Za-z0-9_-]+$")
    """``sha256:<64 hex>`` for a file, ``youtube:<id>`` and the like for a site."""
    source: str
    """The link or path it was asked for by."""
    title: str
    uploader: str = ""
    licence: str = "unknown"
    fps: float = 0.0
    """Average frames per second; 0 when the file does not say."""
    width: int = Field(gt=0)
    """Pixels as displayed, after the file's rotation flag."""
    height: int = Field(gt=0)
    duration_ms: int = Field(ge=0)
    size_bytes: int = Field(gt=0)
    artifact: str
    """Key of the source video in the artifact store."""
    sha256: str = ""
    """Of the file's bytes, hex."""
    tool: str = ""
    """The downloader."""
    tool_version: str = ""
    # --- as the site states it; empty where it does not ---
    uploader_id: str = ""
    """The uploader's handle or name in addresses."""
    channel_id: str = ""
    upload_date: str = ""
    """ISO 8601, ``YYYY-MM-DD``."""
    format_id: str = ""
    """The site's name of the format that was fetched."""

    @property
    def slug(self) -> str:
        """The id as a part of a file name: no colon, at most 16 characters of a content hash."""
        kind, _, name = self.id.partition(":")
        return f"{kind}-{name[:16]}" if kind == "sha256" else f"{kind}-{name}"


_PICTURES = {Stage.POSE: "frames", Stage.MASK: "masks", Stage.ME: "device"}


def segment_key(video_id: str, recipe_id: str, index: int) -> str:
    """Unique name of a segment over all jobs."""
    return f"{video_id}/{recipe_id}/{index}"


def picture_folder(stage: Stage, stage_id: str, video_id: str) -> str:
    """Where the pictures are that ``stage`` makes of a video; ``stage_id`` is ``Recipe.stage_id``'s."""
    return f"{_PICTURES[stage]}/{stage_id}/{video_id.replace(':', '-')}"


def result_folder(stage_id: str, video_id: str) -> str:
    """Where the results of a stage are that were made of a video."""
    return f"results/{stage_id}/{video_id.replace(':', '-')}"


def stage_folders(stage: Stage, stage_id: str, video_id: str) -> tuple[str, ...]:
    """The folders of all that ``stage`` leaves of a video in the artifact store."""
    pictures = (picture_folder(stage, stage_id, video_id),) if stage in _PICTURES else ()
    return (*pictures, result_folder(stage_id, video_id))


class Segment(Frozen):
    """A stretch of a video, ``[start_ms, end_ms)``: the unit of work, of retry and of progress."""

    version: Version = MESSAGE_VERSION
    job_id: str
    video: Video
    recipe: Recipe
    index: int = Field(ge=0)
    start_ms: int = Field(ge=0)
    end_ms: int
    ticket: str = ""
    """Changes whenever the segment is sent anew; a message with an older ticket is dropped."""

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if self.end_ms <= self.start_ms:
            raise ValueError(f"segment {self.index} ends at {self.end_ms} ms, before it starts")
        return self

    @property
    def key(self) -> str:
        """Unique name of this piece of work over all jobs."""
        return segment_key(self.video.id, self.recipe.id, self.index)

    def artifact_key(self, stage: Stage, time_ms: int, suffix: str) -> str:
        """Key of a picture that ``stage`` makes of the frame at ``time_ms``."""
        folder = picture_folder(stage, self.recipe.stage_id(stage), self.video.id)
        return f"{folder}/{time_ms:09d}.{suffix}"

    def result_key(self, stage: Stage) -> str:
        """Key of the stage's result; a stage whose result is there is not run again."""
        folder = result_folder(self.recipe.stage_id(stage), self.video.id)
        return f"{folder}/{self.start_ms:09d}-{self.end_ms:09d}.json"


Keypoints = tuple[tuple[float, float, float], ...]
"""25 x (x, y, confidence) in BODY_25 order; x and y in pixels of the frame; confidence 0 means absent."""


class Keeper(Frozen):
    """A frame that passed the full-body filter, and everything measured on it since."""

    time_ms: int = Field(ge=0)
    keypoints: Keypoints = Field(min_length=25, max_length=25)
    box: tuple[float, float, float, float]
    """Person box x0, y0, x1, y1 in pixels."""
    frame_key: str
    mask_key: str | None = None
    device_key: str | None = None
    phash: str = Field(pattern=r"^[0-9a-f]{16}$")
    """64-bit perceptual hash of the person crop, hex."""
    measures: dict[str, float] = Field(default_factory=dict)
    """The number behind each gate, by name, whether it passed or not."""
    iou: float | None = None
    verdict: Verdict | None = None
    """None while the frame is still on its way."""
    value: float | None = None
    """The number that decided the verdict."""
    fault: str = ""
    """Of a frame with the verdict ``failed``: the code of the error (``HardposeError.code``)."""

    def decide(self, verdict: Verdict, value: float, fault: str = "") -> "Keeper":
        """A copy with its final verdict."""
        return self.model_copy(update={"verdict": verdict, "value": value, "fault": fault})


class Drop(Frozen):
    """A frame that was examined and not kept, with the value that decided it."""

    time_ms: int = Field(ge=0)
    verdict: Verdict
    value: float


class Funnel(Frozen):
    """Counts by verdict. ``examined`` equals the sum once every frame is decided."""

    examined: int = Field(0, ge=0)
    verdicts: dict[Verdict, int] = Field(default_factory=dict)

    @classmethod
    def count(cls, verdicts: Iterable[Verdict], examined: int) -> "Funnel":
        """Counts ``verdicts``; ``examined`` is counted apart, where frames are read, so that a loss shows."""
        counts: dict[Verdict, int] = {}
        for verdict in verdicts:
            counts[verdict] = counts.get(verdict, 0) + 1
        return cls(examined=examined, verdicts={v: counts[v] for v in Verdict if v in counts})

    def __add__(self, other: "Funnel") -> "Funnel":
        sums = {v: self.verdicts.get(v, 0) + other.verdicts.get(v, 0) for v in Verdict}
        verdicts = {v: n for v, n in sums.items() if n}
        return Funnel(examined=self.examined + other.examined, verdicts=verdicts)

    def of(self, *verdicts: Verdict) -> int:
        """How many frames ended in any of ``verdicts``."""
        return sum(self.verdicts.get(v, 0) for v in verdicts)

    def check(self) -> Self:
        """Returns itself.

        Raises:
            FunnelMismatch: if the verdicts do not add up to ``examined``.
        """
        total = sum(self.verdicts.values())
        if total != self.examined:
            raise FunnelMismatch(
                f"{self.examined} frames were examined but {total} have a verdict.",
                "This is a defect of hardpose: the segment is marked failed; please report it with its log.",
            )
        return self


class InlinePicture(Frozen):
    """A picture inside a message, to or from a device that does not reach the artifact store."""

    time_ms: int = Field(ge=0)
    """Of the keeper that it belongs to."""
    data: str
    """Base64 of a PNG or JPEG: to the device the frame (RGB), back from it the person map (8-bit grey)."""


class SegmentResult(Frozen):
    """What is known of a segment after a stage: this is what the chain hands on."""

    version: Version = MESSAGE_VERSION
    segment: Segment
    examined: int = Field(0, ge=0)
    """Frames read as candidates, counted by the reader and by nothing else."""
    keepers: tuple[Keeper, ...] = ()
    """Frames that passed the pose stage, decided or not, by time."""
    drops: tuple[Drop, ...] = ()
    seconds: dict[Stage, float] = Field(default_factory=dict)
    """Wall-clock seconds that each stage took."""
    pictures: tuple[InlinePicture, ...] = ()
    """Of the open keepers, on the way to and from a device whose route is ``inline``; never stored."""

    @property
    def open(self) -> tuple[Keeper, ...]:
        """Keepers without a verdict: the ones the next stage has to look at."""
        return tuple(k for k in self.keepers if k.verdict is None)

    def funnel(self) -> Funnel:
        """The closed funnel.

        Raises:
            FunnelMismatch: while a keeper is open, or when a frame was lost or counted twice.
        """
        decided = [k.verdict for k in self.keepers if k.verdict is not None]
        return Funnel.count([*decided, *(d.verdict for d in self.drops)], self.examined).check()

    def check_open(self) -> Self:
        """Returns itself; the law between the stages: examined = drops + keepers, each time once.

        Raises:
            FunnelMismatch: if it does not hold.
        """
        times = [k.time_ms for k in self.keepers] + [d.time_ms for d in self.drops]
        if len(times) != self.examined or len(set(times)) != len(times):
            raise FunnelMismatch(
                f"{self.examined} frames were examined, {len(set(times))} of {len(times)} records differ.",
                "This is a defect of hardpose: the segment is marked failed; please report it with its log.",
            )
        return self


class Failure(Frozen):
    """A recorded failure of a link or a segment."""

    code: str
    cause: str
    remedy: str = ""
    action: Action = Action.PERMANENT
    stage: Stage | None = None
    tool: str = ""
    tool_version: str = ""

    @classmethod
    def of(cls, error: BaseException, stage: Stage | None = None) -> "Failure":
        """The record of ``error``; one that is not ours is kept by type and text as ``unexpected``."""
        if isinstance(error, HardposeError):
            return cls(
                code=error.code,
                cause=error.cause,
                remedy=error.remedy,
                action=error.action,
                stage=stage,
                tool=error.tool,
                tool_version=error.tool_version,
            )
        text = f"{type(error).__name__}: {error}"
        return cls(code="unexpected", cause=text[:500], remedy="See the worker's log.", stage=stage)
