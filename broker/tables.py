"""The tables of the catalog. A change here needs a new file in ``migrations/versions``."""

import json
from typing import Any

from sqlalchemy import (
    BigInteger,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMES = {
    "ix": "ix_%(column_0_label)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraints have names of their own, so that a migration can change them on every database."""


def _id(length: int) -> Any:
    """An id's type. Ordered by code points everywhere; PostgreSQL would order as its locale does."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


_FRAME = ("video_id", "recipe_id", "time_ms")
_FILTERS = ("verdict", "pose_class", "review", "iou")
"""What lists filter by: each index of frames holds all of it, so that only the frames shown are read."""


class JsonText(TypeDecorator[Any]):
    """JSON as text: the same on SQLite and PostgreSQL, and NaN and U+0000 pass, which ``json`` refuses."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002 - fixed by the base
        """Python value to column."""
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Any:  # noqa: ARG002 - as above
        """Column to Python value."""
        return None if value is None else json.loads(value)


class Base(DeclarativeBase):
    """Base of all tables. Times are UTC, ISO 8601, as text; ids are those of ``broker.messages``."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {dict[str, Any]: JsonText, list[Any]: JsonText}  # noqa: RUF012 - SQLAlchemy's way


class RecipeRow(Base):
    """A recipe, once."""

    __tablename__ = "recipes"
    id: Mapped[str] = mapped_column(_id(64), primary_key=True)
    json: Mapped[dict[str, Any]]


class JobRow(Base):
    """A job: some links under one recipe."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(_id(200), primary_key=True)
    recipe_id: Mapped[str] = mapped_column(ForeignKey("recipes.id"), index=True)
    created_at: Mapped[str] = mapped_column(String(32))
    intake: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    """``broker.intake``; NULL, in jobs of before there were any rules, means the defaults."""
    priority: Mapped[str | None] = mapped_column(String(8))
    """``broker.work_views.Priority``; NULL means normal."""
    cancelled_at: Mapped[str | None] = mapped_column(String(32))


class VideoRow(Base):
    """A fetched video; the columns beside the message are for queries."""

    __tablename__ = "videos"
    id: Mapped[str] = mapped_column(_id(200), primary_key=True)
    json: Mapped[dict[str, Any]]
    source: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    uploader: Mapped[str] = mapped_column(Text)
    licence: Mapped[str] = mapped_column(Text)
    duration_ms: Mapped[int]


class LinkRow(Base):
    """A link of a job, and the video or the list that it led to."""

    __tablename__ = "links"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    link: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    failure: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    video_id: Mapped[str | None] = mapped_column(ForeignKey("videos.id"), index=True)
    updated_at: Mapped[str] = mapped_column(String(32))
    parent: Mapped[int | None]
    """Position of the playlist or channel that the link was found in."""
    listed: Mapped[int | None]
    """Of a playlist or channel: how many videos it named. NULL in every other row."""
    list_title: Mapped[str | None] = mapped_column(Text)
    list_complete: Mapped[bool | None]


class ClaimRow(Base):
    """Who fetches a video now. No reference to ``videos``: the claim is there before the video is."""

    __tablename__ = "claims"
    video_id: Mapped[str] = mapped_column(_id(200), primary_key=True)
    owner: Mapped[str] = mapped_column(Text)
    until: Mapped[float] = mapped_column(Float(53))
    """Unix seconds by the database's clock: a sum of a time and a duration, which text cannot do alike
    on both databases."""


class AnalysisRow(Base):
    """A video under a recipe: the same work is never done twice. Its row is the lock of the fan-in.

    The sums over its segments are kept here, under that lock, so that no list has to read every segment.
    """

    __tablename__ = "analyses"
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), primary_key=True)
    recipe_id: Mapped[str] = mapped_column(ForeignKey("recipes.id"), primary_key=True)
    segments: Mapped[int] = mapped_column(server_default="0")
    done: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    funnel: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    seconds: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    """Wall-clock seconds by stage."""
    updated_at: Mapped[str | None] = mapped_column(String(32))
    """When any of its segments last changed; NULL before there were any."""


class SegmentRow(Base):
    """A segment of an analysis."""

    __tablename__ = "segments"
    __table_args__ = (
        ForeignKeyConstraint(["video_id", "recipe_id"], ["analyses.video_id", "analyses.recipe_id"]),
        Index("ix_segments_state", "state", "video_id", "recipe_id", "index"),
    )
    video_id: Mapped[str] = mapped_column(_id(200), primary_key=True)
    recipe_id: Mapped[str] = mapped_column(_id(64), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    start_ms: Mapped[int]
    end_ms: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    ticket: Mapped[str] = mapped_column(String(32))
    funnel: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    drops: Mapped[list[Any] | None] = mapped_column(JsonText)
    seconds: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    failure: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    updated_at: Mapped[str] = mapped_column(String(32))


class FrameRow(Base):
    """A decided keeper; the columns beside the message are for queries such as "IoU below 0.6"."""

    __tablename__ = "frames"
    __table_args__ = (
        ForeignKeyConstraint(["video_id", "recipe_id"], ["analyses.video_id", "analyses.recipe_id"]),
        Index("ix_frames_verdict", "verdict", *_FRAME, "pose_class", "review", "iou", "doubt"),
        Index("ix_frames_review", "review", *_FRAME, "verdict", "pose_class", "iou", "doubt"),
        Index("ix_frames_iou", "iou", *_FRAME, "verdict", "pose_class", "review"),
        Index("ix_frames_doubt", "doubt", *_FRAME, *_FILTERS),
        Index("ix_frames_pose_class", "pose_class", "iou", *_FRAME, "verdict", "review"),
        Index("ix_frames_time", "video_id", "time_ms", "recipe_id", *_FILTERS, "doubt"),
    )
    video_id: Mapped[str] = mapped_column(_id(200), primary_key=True)
    recipe_id: Mapped[str] = mapped_column(_id(64), primary_key=True)
    time_ms: Mapped[int] = mapped_column(primary_key=True)
    segment: Mapped[int]
    verdict: Mapped[str] = mapped_column(String(32))
    value: Mapped[float | None] = mapped_column(Float(53))
    iou: Mapped[float | None] = mapped_column(Float(53))
    phash: Mapped[str] = mapped_column(String(16))
    keeper: Mapped[dict[str, Any]]
    pose_class: Mapped[str | None] = mapped_column(String(32))
    doubt: Mapped[float | None] = mapped_column(Float(53))
    review: Mapped[str] = mapped_column(String(16), server_default="open")
    """``broker.frame_views.Review``: what the events in ``reviews`` come to."""


class ReviewRow(Base):
    """A decision of a reviewer. Rows are added and, but for a deletion, never changed.

    No reference to ``frames``: they are removed together, by whoever removes a frame.
    """

    __tablename__ = "reviews"
    __table_args__ = (
        Index("ix_reviews_video_id", "video_id", "recipe_id", "time_ms"),
        Index("ix_reviews_reviewer", "reviewer", "number"),
        {"sqlite_autoincrement": True},  # else the number of a removed event is given again
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    video_id: Mapped[str] = mapped_column(_id(200))
    recipe_id: Mapped[str] = mapped_column(_id(64))
    time_ms: Mapped[int]
    reviewer: Mapped[str] = mapped_column(String(100))
    decision: Mapped[str] = mapped_column(String(16))
    note: Mapped[str] = mapped_column(Text)
    at: Mapped[str] = mapped_column(String(32))


class ExportRow(Base):
    """An export that was asked for, and its file in the artifact store once it is written."""

    __tablename__ = "exports"
    id: Mapped[str] = mapped_column(_id(64), primary_key=True)
    created_at: Mapped[str] = mapped_column(String(32))
    updated_at: Mapped[str] = mapped_column(String(32))
    requested_by: Mapped[str] = mapped_column(String(100))
    spec: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    failure: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    artifact: Mapped[str | None] = mapped_column(Text)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    counts: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    videos: Mapped[list[Any] | None] = mapped_column(JsonText)
    """Ids of the videos it holds frames of: who forgets one removes the export."""


class ForgottenRow(Base):
    """A video that was removed on request: it is not fetched again. Only its id is kept."""

    __tablename__ = "forgotten"
    video_id: Mapped[str] = mapped_column(_id(200), primary_key=True)
    at: Mapped[str] = mapped_column(String(32))
    by: Mapped[str] = mapped_column(String(100))
    reason: Mapped[str] = mapped_column(Text)
    together: Mapped[str] = mapped_column(_id(200))
    """The same in all rows of one request: the same bytes may be known by several ids."""


class ErasureRow(Base):
    """A folder or a key of the artifact store that is to be removed, written with what it belonged to.

    So nothing is left behind that no row names, whenever the process that removes it ends.
    """

    __tablename__ = "erasures"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    video_id: Mapped[str] = mapped_column(_id(200), index=True)
    """Of which nothing is booked anew before this is done; empty for an export."""
    place: Mapped[str] = mapped_column(Text)
