"""The books of frames: pages with filters, counts for the filters' choices, single frames, a stream."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Text, select, type_coerce, update

from broker import frame_queries as queries
from broker.cursors import Key, check_limit, storable
from broker.database import Database
from broker.frame_queries import is_frame, no_frame
from broker.frame_views import (
    Facets,
    FrameDetail,
    FrameFacts,
    FrameFilter,
    FrameId,
    FrameView,
    Order,
    Page,
    PoseClass,
    Review,
)
from broker.messages import Keeper, Verdict, Video
from broker.recipe import Recipe
from broker.review_rows import events_of
from broker.tables import FrameRow, JobRow, LinkRow, RecipeRow

BATCH = 500
"""Frames that ``each`` reads in one transaction."""

_KEEPER = type_coerce(FrameRow.keeper, Text).label("keeper")
"""As text: pydantic reads JSON itself, in a third of the time."""


class FrameBooks:
    """What is booked of frames. Reached as ``catalog.frames``; raises as every method of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, where: FrameFilter, order: Order = Order.IOU, limit: int = 50, cursor: str | None = None
    ) -> Page[FrameView]:
        """Some frames, and how many there are.

        Frames of the same value are ordered by video, recipe and time, backwards in an order that goes
        down; so every frame has one place, and no page repeats or leaves out what stays in the books.

        Args:
            where: which frames.
            order: frames without the value come last.
            limit: 1 to 500.
            cursor: ``next`` of the page before, in the same order.

        Raises:
            BadCursor: no page in this order has given the cursor.
            ValueError: if ``limit`` is out of bounds.
        """
        check_limit(limit)
        start = queries.read_cursor(order, cursor)

        def work(connection: Connection) -> Page[FrameView]:
            total = connection.scalar(queries.count(where)) or 0
            rows = list(_rows(connection, where, order, min(limit + 1, total), start))
            more = len(rows) > limit
            items = tuple(_view(row) for _, row in rows[:limit])
            return Page(items=items, next=_cursor(order, *rows[limit - 1]) if more else None, total=total)

        return self._database.read(work)

    def count(self, where: FrameFilter) -> int:
        """How many frames there are."""
        return self._database.read(lambda connection: connection.scalar(queries.count(where)) or 0)

    def facets(self, where: FrameFilter) -> Facets:
        """How many frames there are by verdict, pose class, review and IoU.

        Each count takes no account of the filter on its own field: it says what another choice would give.
        """
        return self._database.read(lambda connection: _facets(connection, where))

    def get(self, frame_id: str) -> FrameDetail:
        """All that is known of one frame.

        Args:
            frame_id: as ``str(FrameId)``.

        Raises:
            BadFrameId: it is no frame's id.
            NotFound: there is no such frame.
        """
        asked = FrameId.parse(frame_id)

        def work(connection: Connection) -> FrameDetail:
            row = (
                connection.execute(queries.one(_KEEPER).where(is_frame(asked))).first()
                if _can(asked)
                else None
            )
            if row is None:
                raise no_frame(asked)
            recipes = _recipes(connection, {asked.recipe_id})
            found = _detail(row, recipes[asked.recipe_id], Video.model_validate(row.video))
            jobs, decisions = _jobs(connection, asked), events_of(connection, asked)
            return found.model_copy(update={"jobs": jobs, "decisions": decisions})

        return self._database.read(work)

    def each(self, where: FrameFilter) -> Iterator[FrameDetail]:
        """All frames by video, time and recipe, with their keepers; ``jobs`` and ``decisions`` stay empty.

        Read in batches, each a snapshot of its own: no transaction is held while the caller works. A frame
        that is removed meanwhile may be left out, one that is added may be in; none comes twice.
        """
        recipes: dict[str, Recipe] = {}
        (run,) = queries.runs(Order.TIME)
        key: list[Key] = []
        while True:
            statement = queries.frames(where, run, key, BATCH, _KEEPER)
            rows = self._database.read(lambda connection, ask=statement: _batch(connection, ask, recipes))  # type: ignore[misc]
            yield from _details(rows, recipes)
            if len(rows) < BATCH:
                return
            key = [rows[-1].video_id, rows[-1].time_ms, rows[-1].recipe_id]

    def unclassed(self, limit: int = BATCH) -> list[FrameDetail]:
        """Frames that were booked before poses were classed, as ``each`` gives them; at most ``limit``.

        Raises:
            ValueError: if ``limit`` is not in 1..500.
        """
        check_limit(limit)
        statement = queries.one(_KEEPER).where(FrameRow.pose_class.is_(None)).limit(limit)
        recipes: dict[str, Recipe] = {}
        rows = self._database.read(lambda connection: _batch(connection, statement, recipes))
        return list(_details(rows, recipes))

    def class_frames(self, facts: Mapping[FrameId, FrameFacts]) -> int:
        """Books pose class and doubt of frames, whatever they were.

        Returns:
            How many there were; a frame that is gone is passed over.
        """

        def work(connection: Connection) -> int:
            changed = 0
            for frame, known in facts.items():
                if _can(frame):
                    values = {"pose_class": known.pose_class.value, "doubt": known.doubt}
                    changed += connection.execute(
                        update(FrameRow).where(is_frame(frame)).values(values)
                    ).rowcount
            return changed

        return self._database.write(work)


def _can(frame: FrameId) -> bool:
    return storable(str(frame))


def _rows(
    connection: Connection, where: FrameFilter, order: Order, limit: int, start: tuple[int, list[Key]]
) -> Iterator[tuple[int, Row[Any]]]:
    """At most ``limit`` frames, each with the number of its run."""
    first, key = start
    for number, run in enumerate(queries.runs(order)):
        if number < first or limit <= 0:
            continue
        rows = connection.execute(queries.frames(where, run, key, limit)).all()
        yield from ((number, row) for row in rows)
        limit, key = limit - len(rows), []


def _cursor(order: Order, number: int, row: Row[Any]) -> str:
    run = queries.runs(order)[number]
    return queries.cursor_of(order, number, [row._mapping[column.key] for column in run.sort])


def _facets(connection: Connection, where: FrameFilter) -> Facets:
    def counted(field: str) -> list[tuple[Any, int]]:
        return [(value, n) for value, n in connection.execute(queries.count_by(field, where))]

    bins = [0] * queries.IOU_BINS
    for at, n in connection.execute(queries.iou_bins(where)):
        bins[min(at, queries.IOU_BINS - 1)] += n
    return Facets(
        total=connection.scalar(queries.count(where)) or 0,
        verdicts={Verdict(value): n for value, n in counted("verdicts")},
        poses={PoseClass(value): n for value, n in counted("poses")},
        reviews={Review(value): n for value, n in counted("reviews")},
        iou=tuple(bins),
    )


def _batch(connection: Connection, statement: Any, recipes: dict[str, Recipe]) -> Sequence[Row[Any]]:
    """The rows; recipes that they name and that are not known yet are added to ``recipes``."""
    rows = connection.execute(statement).all()
    recipes |= _recipes(connection, {row.recipe_id for row in rows} - recipes.keys())
    return rows


def _recipes(connection: Connection, ids: set[str]) -> dict[str, Recipe]:
    if not ids:
        return {}
    rows = connection.execute(select(RecipeRow.id, RecipeRow.json).where(RecipeRow.id.in_(ids)))
    return {row.id: Recipe.model_validate(row.json) for row in rows}


def _jobs(connection: Connection, frame: FrameId) -> tuple[str, ...]:
    asks = select(LinkRow.job_id).where(LinkRow.video_id == frame.video_id)
    mine = select(JobRow.id).where(JobRow.recipe_id == frame.recipe_id, JobRow.id.in_(asks))
    return tuple(connection.scalars(mine.order_by(JobRow.created_at, JobRow.id)))


def _view(row: Row[Any]) -> FrameView:
    return FrameView(**_listed(row))


def _details(rows: Sequence[Row[Any]], recipes: Mapping[str, Recipe]) -> Iterator[FrameDetail]:
    videos: dict[str, Video] = {}
    for row in rows:
        if row.video_id not in videos:
            videos[row.video_id] = Video.model_validate(row.video)
        yield _detail(row, recipes[row.recipe_id], videos[row.video_id])


def _detail(row: Row[Any], recipe: Recipe, video: Video) -> FrameDetail:
    keeper = Keeper.model_validate_json(row.keeper)
    return FrameDetail(**_listed(row), keeper=keeper, video=video, recipe=recipe)


def _listed(row: Row[Any]) -> dict[str, Any]:
    same = (
        "video_id",
        "recipe_id",
        "time_ms",
        "segment",
        "verdict",
        "value",
        "iou",
        "doubt",
        "pose_class",
        "review",
    )
    values = {name: row._mapping[name] for name in same}
    video = {name: row.video[name] for name in ("title", "width", "height")}
    return values | video | {"id": f"{row.video_id}.{row.recipe_id}.{row.time_ms}"}
