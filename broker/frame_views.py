"""Frames and reviews as the books show them: what is asked for, and what is answered."""

from enum import StrEnum
from typing import Annotated, Generic, Self, TypeVar

from pydantic import Field, model_validator

from broker.errors import HardposeError
from broker.messages import Keeper, Verdict, Video
from broker.recipe import Frozen, Recipe

T = TypeVar("T")

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""An id, or a reviewer: of one line. U+0000 is in no text of PostgreSQL."""


class PoseClass(StrEnum):
    """How a person stands, by the keypoints; see ``tasks.pose_classes``, which decides."""

    UPRIGHT_FRONT = "upright_front"
    UPRIGHT_TURNED = "upright_turned"
    """Upright, seen from the side or from behind."""
    BENT = "bent"
    CROUCHED = "crouched"
    SITTING = "sitting"
    INVERTED = "inverted"
    LYING = "lying"
    ARMS_RAISED = "arms_raised"
    SMALL = "small"
    """Small in the frame, whatever the pose."""


class Review(StrEnum):
    """What the reviewers have made of a frame, all of their decisions together."""

    OPEN = "open"
    """Nobody has decided."""
    KEPT = "kept"
    REJECTED = "rejected"
    DISPUTED = "disputed"
    """Some keep it, some reject it. Every decision is kept; who must know looks at them."""


class Decision(StrEnum):
    """What one reviewer does."""

    KEEP = "keep"
    REJECT = "reject"
    WITHDRAW = "withdraw"
    """Takes back the reviewer's own decision about the frame."""


class Order(StrEnum):
    """Of frames in a page; frames without the value come last."""

    IOU = "iou"
    IOU_DOWN = "-iou"
    DOUBT = "doubt"
    DOUBT_DOWN = "-doubt"
    POSE = "pose"
    """By pose class, then IoU."""
    TIME = "time"
    """By video, then time."""


class BadFrameId(HardposeError):
    """Something that is no frame's id."""

    code = "bad_frame_id"


class BadCursor(HardposeError):
    """A cursor that no page of this kind has given."""

    code = "bad_cursor"


class FrameId(Frozen):
    """Which frame: ``VIDEO.RECIPE.TIME_MS``, such as ``youtube:dQw4w9WgXcQ.0123456789abcdef.12345``."""

    video_id: str
    recipe_id: str
    time_ms: int = Field(ge=0, lt=2**31)

    def __str__(self) -> str:
        return f"{self.video_id}.{self.recipe_id}.{self.time_ms}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``VIDEO.RECIPE.TIME_MS``.

        Raises:
            BadFrameId: it is none.
        """
        parts = text.split(".")
        digits = parts[-1].isdigit() and len(parts[-1]) < 10
        if len(parts) != 3 or not all(parts) or not digits or not (text.isascii() and text.isprintable()):
            raise BadFrameId(
                f"{text[:100]!r} is no frame's id.",
                "It is VIDEO.RECIPE.TIME_MS, as a list of frames gives it.",
            )
        return cls(video_id=parts[0], recipe_id=parts[1], time_ms=int(parts[2]))


class FrameFilter(Frozen):
    """Which frames. What is empty or None bounds nothing; of several values of one field any will do."""

    jobs: tuple[Name, ...] = Field((), max_length=1000)
    videos: tuple[Name, ...] = Field((), max_length=1000)
    verdicts: tuple[Verdict, ...] = ()
    poses: tuple[PoseClass, ...] = ()
    reviews: tuple[Review, ...] = ()
    min_iou: float | None = Field(None, ge=0, le=1)
    """At least."""
    below_iou: float | None = Field(None, ge=0, le=1)
    """Less than: 0.6 asks what a threshold of 0.6 would save. A frame without an IoU is in no bound."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_iou is not None and self.below_iou is not None and self.min_iou > self.below_iou:
            raise ValueError(f"min_iou {self.min_iou} is above below_iou {self.below_iou}")
        return self


class FrameView(Frozen):
    """A frame in a list."""

    id: str
    video_id: str
    recipe_id: str
    time_ms: int
    segment: int
    verdict: Verdict
    value: float | None
    """The number that decided the verdict."""
    iou: float | None
    doubt: float | None
    """Of the teacher's mask, 0 (none) to 1; see ``tasks.frame_facts``."""
    pose_class: PoseClass | None
    """None for a frame that was booked before poses were classed and has not been looked at since."""
    review: Review
    title: str
    """Of the video."""
    width: int
    """Of the video as displayed, in pixels; so is ``height``."""
    height: int


class ReviewDecision(Frozen):
    """What a reviewer says of a frame."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")
    """Made by the client, new for each decision: one that is sent twice counts once."""
    frame_id: str = Field(min_length=5, max_length=300, pattern=r"^[\x21-\x7e]*$")
    decision: Decision
    note: str = Field("", max_length=1000, pattern=r"^[^\x00]*$")


class ReviewEvent(Frozen):
    """A decision as booked. Nothing is ever overwritten."""

    number: int
    """Grows with every event of the catalog."""
    id: str
    frame_id: str
    reviewer: str
    decision: Decision
    note: str
    at: str
    """UTC, ISO 8601."""


class FrameDetail(FrameView):
    """A frame with all that is known of it."""

    keeper: Keeper
    video: Video
    recipe: Recipe
    jobs: tuple[str, ...] = ()
    """The jobs that have it, the oldest first."""
    decisions: tuple[ReviewEvent, ...] = ()
    """All that was ever said of it, the oldest first."""


class Page(Frozen, Generic[T]):
    """A part of a list."""

    items: tuple[T, ...]
    next: str | None = None
    """The cursor of the next page; None at the end."""
    total: int
    """Of the whole list."""


class FrameFacts(Frozen):
    """What is told of a frame beside what its stages have measured, for lists and filters."""

    pose_class: PoseClass
    doubt: float | None = None


class Facets(Frozen):
    """How many of the asked frames there are. Each count takes no account of the filter on its own field."""

    total: int
    verdicts: dict[Verdict, int] = Field(default_factory=dict)
    poses: dict[PoseClass, int] = Field(default_factory=dict)
    reviews: dict[Review, int] = Field(default_factory=dict)
    iou: tuple[int, ...] = ()
    """100 counts: frames with ``n / 100 <= iou < (n + 1) / 100``, the last with 1 too. How many frames a
    threshold of ``n / 100`` would save is the sum of the first ``n``."""
