"""The tables of the catalog. A change here needs a new file in ``migrations/versions``."""

import json
from typing import Any

from sqlalchemy import (
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
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    json: Mapped[dict[str, Any]]


class JobRow(Base):
    """A job: some links under one recipe."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    recipe_id: Mapped[str] = mapped_column(ForeignKey("recipes.id"), index=True)
    created_at: Mapped[str] = mapped_column(String(32))
    intake: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    """``broker.intake``; NULL, in jobs of before there were any rules, means the defaults."""


class VideoRow(Base):
    """A fetched video; the columns beside the message are for queries."""

    __tablename__ = "videos"
    id: Mapped[str] = mapped_column(String(200), primary_key=True)
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
    video_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    owner: Mapped[str] = mapped_column(Text)
    until: Mapped[float] = mapped_column(Float(53))
    """Unix seconds by the database's clock: a sum of a time and a duration, which text cannot do alike
    on both databases."""


class AnalysisRow(Base):
    """A video under a recipe: the same work is never done twice. Its row is the lock of the fan-in."""

    __tablename__ = "analyses"
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), primary_key=True)
    recipe_id: Mapped[str] = mapped_column(ForeignKey("recipes.id"), primary_key=True)


class SegmentRow(Base):
    """A segment of an analysis."""

    __tablename__ = "segments"
    __table_args__ = (
        ForeignKeyConstraint(["video_id", "recipe_id"], ["analyses.video_id", "analyses.recipe_id"]),
    )
    video_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    recipe_id: Mapped[str] = mapped_column(String(64), primary_key=True)
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
        Index(None, "verdict"),
        Index(None, "iou"),
    )
    video_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    recipe_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    time_ms: Mapped[int] = mapped_column(primary_key=True)
    segment: Mapped[int]
    verdict: Mapped[str] = mapped_column(String(32))
    value: Mapped[float | None] = mapped_column(Float(53))
    iou: Mapped[float | None] = mapped_column(Float(53))
    phash: Mapped[str] = mapped_column(String(16))
    keeper: Mapped[dict[str, Any]]
