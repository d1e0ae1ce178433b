"""What devices were judged on, side by side: the recipes that name them, and their frames as one stream."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from pydantic import Field
from sqlalchemy import ColumnElement, Connection, Row, Text, func, literal, select, tuple_, type_coerce

from broker.database import Database
from broker.frame_views import PoseClass, Review
from broker.messages import Verdict
from broker.recipe import Frozen, Recipe
from broker.tables import AnalysisRow, FrameRow, JobRow, RecipeRow

BATCH = 2000
"""Frames that are read in one transaction."""
JUDGED = (Verdict.EASY, Verdict.HARD, Verdict.FAILED)
"""Verdicts of frames that a device was asked about; of the last some failed before they came to it."""


class SideRecipe(Frozen):
    """A recipe under which there are analyses."""

    recipe: Recipe
    first_at: str
    """When its oldest job was asked for, UTC, ISO 8601."""
    videos: int
    open: int
    """Segments that have not ended."""


class SideFrame(Frozen):
    """What one recipe's device has made of a frame."""

    video_id: str
    recipe_id: str
    time_ms: int
    verdict: Verdict
    iou: float | None = None
    pose_class: PoseClass | None = None
    review: Review = Review.OPEN
    mask_key: str | None = None
    device_key: str | None = None
    fault: str = Field("")
    """Of a frame that failed: the code of the error."""

    @property
    def id(self) -> str:
        """As ``broker.frame_views.FrameId`` writes it."""
        return f"{self.video_id}.{self.recipe_id}.{self.time_ms}"


class SideBooks:
    """Reached as ``catalog.sides``; raises as every method of the catalog.

    Args:
        database: the catalog's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def recipes(self) -> list[SideRecipe]:
        """Every recipe under which a video was examined, the one that was asked for last first."""
        return self._database.read(_recipes)

    def frames(self, recipe_ids: Sequence[str]) -> Iterator[list[SideFrame]]:
        """The frames that devices were asked about, by video and time: what each recipe has of one, together.

        Read in batches, each a snapshot of its own, like ``FrameBooks.each``.

        Args:
            recipe_ids: of the recipes, a handful.
        """
        for _, same in groupby(self._each(recipe_ids), lambda frame: (frame.video_id, frame.time_ms)):
            yield list(same)

    def _each(self, recipe_ids: Sequence[str]) -> Iterator[SideFrame]:
        key: list[Any] = []
        while True:
            rows = self._database.read(lambda connection, at=key: _batch(connection, recipe_ids, at))  # type: ignore[misc]
            yield from map(_frame, rows)
            if len(rows) < BATCH:
                return
            key = [rows[-1].video_id, rows[-1].time_ms, rows[-1].recipe_id]


def _recipes(connection: Connection) -> list[SideRecipe]:
    left = func.sum(AnalysisRow.segments - AnalysisRow.done - AnalysisRow.failed).label("open")
    videos = select(AnalysisRow.recipe_id, func.count().label("videos"), left)
    counted = videos.group_by(AnalysisRow.recipe_id).subquery()
    first = func.min(JobRow.created_at).label("first_at")
    jobs = select(JobRow.recipe_id, first).group_by(JobRow.recipe_id).subquery()
    found = (
        select(RecipeRow.json, jobs.c.first_at, counted.c.videos, counted.c.open)
        .join(counted, counted.c.recipe_id == RecipeRow.id)
        .join(jobs, jobs.c.recipe_id == RecipeRow.id)
        .order_by(jobs.c.first_at.desc(), RecipeRow.id)
    )
    return [
        SideRecipe(
            recipe=Recipe.model_validate(row.json),
            first_at=row.first_at,
            videos=row.videos,
            open=max(0, row.open),
        )
        for row in connection.execute(found)
    ]


def _batch(connection: Connection, recipe_ids: Sequence[str], key: list[Any]) -> Sequence[Row[Any]]:
    return connection.execute(_frames(recipe_ids, key)).all()


def _frames(recipe_ids: Sequence[str], key: list[Any]) -> Any:
    order = (FrameRow.video_id, FrameRow.time_ms, FrameRow.recipe_id)
    asked: list[ColumnElement[bool]] = [
        FrameRow.recipe_id.in_(recipe_ids),
        FrameRow.verdict.in_([verdict.value for verdict in JUDGED]),
    ]
    if key:
        parts = (literal(part, column.type) for part, column in zip(key, order, strict=True))
        asked.append(tuple_(*order) > tuple_(*parts))
    columns = (*order, FrameRow.verdict, FrameRow.iou, FrameRow.pose_class, FrameRow.review)
    keeper = type_coerce(FrameRow.keeper, Text).label("keeper")
    found = select(*columns, keeper)
    return found.where(*asked).order_by(*order).limit(BATCH)


def _frame(row: Row[Any]) -> SideFrame:
    # Not as a Keeper: its keypoints cost ten times what is asked for here.
    keeper: dict[str, Any] = json.loads(row.keeper)
    return SideFrame(
        video_id=row.video_id,
        recipe_id=row.recipe_id,
        time_ms=row.time_ms,
        verdict=Verdict(row.verdict),
        iou=row.iou,
        pose_class=PoseClass(row.pose_class) if row.pose_class else None,
        review=Review(row.review),
        mask_key=keeper.get("mask_key"),
        device_key=keeper.get("device_key"),
        fault=keeper.get("fault", ""),
    )
