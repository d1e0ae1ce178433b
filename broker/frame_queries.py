"""The statements behind ``broker.frame_books``: which frames, in which order, how many of what.

Every condition and every order here is met by an index that holds all columns they name, so that only the
frames of the page itself are read from the table: a frame's row is long, and SQLite reads the columns that
stand behind ``keeper`` through all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, Select, and_, case, cast, func, literal, select, tuple_

from broker.cursors import Key, bad_cursor, pack, storable, unpack
from broker.errors import NotFound
from broker.frame_views import FrameFilter, FrameId, Order, PoseClass
from broker.tables import FrameRow, JobRow, LinkRow, VideoRow

KEY = (FrameRow.video_id, FrameRow.recipe_id, FrameRow.time_ms)
"""What names a frame."""
IOU_BINS = 100


@dataclass(frozen=True)
class Run:
    """A stretch of an order in which no sorting column is NULL: the databases put NULL at different ends."""

    where: tuple[ColumnElement[bool], ...]
    sort: tuple[Any, ...]
    """Columns, ``KEY`` among them."""
    down: bool = False

    def sorted(self, source: Any) -> list[Any]:
        """The ORDER BY over a table, or a subquery, that has the columns."""
        columns = [source[column.key] for column in self.sort]
        return [column.desc() if self.down else column.asc() for column in columns]

    def behind(self, key: Sequence[Key]) -> ColumnElement[bool]:
        """The rows that come after the one with that key."""
        mine = tuple_(*self.sort)
        theirs = tuple_(*(literal(part, column.type) for part, column in zip(key, self.sort, strict=True)))
        return mine < theirs if self.down else mine > theirs

    def fits(self, key: Sequence[Key]) -> bool:
        """Whether the key is one of this run, by the types of its parts."""
        types = [column.type.python_type for column in self.sort]
        return len(key) == len(types) and all(
            type(part) is kind or (kind is float and type(part) is int)
            for part, kind in zip(key, types, strict=True)
        )


def is_frame(frame: FrameId) -> ColumnElement[bool]:
    """Where the frame is."""
    return and_(
        FrameRow.video_id == frame.video_id,
        FrameRow.recipe_id == frame.recipe_id,
        FrameRow.time_ms == frame.time_ms,
    )


def no_frame(frame: FrameId) -> NotFound:
    """What to raise when a frame is nowhere."""
    return NotFound(
        f"There is no frame {str(frame)[:300]!r}.", "A list of frames gives the ids that there are."
    )


def runs(order: Order) -> list[Run]:
    """The order, run by run; the number of a run is part of cursors."""
    if order is Order.TIME:
        return [Run((), (FrameRow.video_id, FrameRow.time_ms, FrameRow.recipe_id))]
    if order is Order.POSE:
        poses = [FrameRow.pose_class == pose.value for pose in PoseClass] + [FrameRow.pose_class.is_(None)]
        return [run for pose in poses for run in _nulls_last(FrameRow.iou, (pose,), down=False)]
    column = FrameRow.iou if order in (Order.IOU, Order.IOU_DOWN) else FrameRow.doubt
    return _nulls_last(column, (), down=order in (Order.IOU_DOWN, Order.DOUBT_DOWN))


def _nulls_last(column: Any, where: tuple[ColumnElement[bool], ...], down: bool) -> list[Run]:
    return [
        Run((*where, column.is_not(None)), (column, *KEY), down),
        Run((*where, column.is_(None)), KEY, down),
    ]


def cursor_of(order: Order, run: int, key: Sequence[Key]) -> str:
    """The cursor behind a frame of the order's run number ``run``."""
    return pack(f"frames {order}", [run, *key])


def read_cursor(order: Order, cursor: str | None) -> tuple[int, list[Key]]:
    """The run to go on in, and the key to go on behind: empty at its beginning.

    Raises:
        BadCursor: no page in this order has given it.
    """
    if cursor is None:
        return 0, []
    number, *key = unpack(cursor, f"frames {order}") or [-1]
    known = runs(order)
    if type(number) is not int or not 0 <= number < len(known) or not known[number].fits(key):
        raise bad_cursor(cursor)
    return number, key


def conditions(where: FrameFilter, but: str = "") -> list[ColumnElement[bool]]:
    """The filter as conditions on ``frames``, all of which must hold.

    Args:
        where: what is asked.
        but: the field to leave out: ``verdicts``, ``poses``, ``reviews`` or ``iou`` (both bounds).
    """
    found: list[ColumnElement[bool]] = []
    if where.jobs:
        found.append(tuple_(FrameRow.video_id, FrameRow.recipe_id).in_(_analyses_of(where.jobs)))
    if where.videos:
        found.append(FrameRow.video_id.in_([each for each in where.videos if storable(each)]))
    found += [
        each for name, column in _BY_VALUE.items() if name != but for each in _is_any(column, where, name)
    ]
    if where.min_iou is not None and but != "iou":
        found.append(FrameRow.iou >= where.min_iou)
    if where.below_iou is not None and but != "iou":
        found.append(FrameRow.iou < where.below_iou)
    return found


_BY_VALUE = {"verdicts": FrameRow.verdict, "poses": FrameRow.pose_class, "reviews": FrameRow.review}


def _analyses_of(jobs: Sequence[str]) -> Any:
    """Video and recipe of all that the jobs' links have led to."""
    return (
        select(LinkRow.video_id, JobRow.recipe_id)
        .join(JobRow, JobRow.id == LinkRow.job_id)
        .where(JobRow.id.in_([each for each in jobs if storable(each)]), LinkRow.video_id.is_not(None))
    )


def frames(where: FrameFilter, run: Run, key: Sequence[Key], limit: int, *more: Any) -> Select[Any]:
    """The next frames of a run with their videos, and ``more`` columns."""
    asked = [*conditions(where), *run.where]
    if key:
        asked.append(run.behind(key))
    found = (
        select(*run.sort).where(*asked).order_by(*run.sorted(FrameRow.__table__.c)).limit(limit).subquery()
    )
    same = [getattr(FrameRow, column.key) == found.c[column.key] for column in KEY]
    return (
        select(*_LISTED, *more)
        .select_from(found)
        .join(FrameRow, and_(*same))
        .join(VideoRow, VideoRow.id == found.c.video_id)
        .order_by(*run.sorted(found.c))
    )


def one(*more: Any) -> Select[Any]:
    """Frames with their videos, and ``more`` columns; for the caller to say which."""
    return select(*_LISTED, *more).join(VideoRow, VideoRow.id == FrameRow.video_id)


_LISTED = (
    *KEY,
    FrameRow.segment,
    FrameRow.verdict,
    FrameRow.value,
    FrameRow.iou,
    FrameRow.doubt,
    FrameRow.pose_class,
    FrameRow.review,
    VideoRow.json.label("video"),
)


def count(where: FrameFilter) -> Select[Any]:
    """How many frames."""
    return select(func.count()).select_from(FrameRow).where(*conditions(where))


def count_by(field: str, where: FrameFilter) -> Any:
    """How many frames by value of a field: ``verdicts``, ``poses`` or ``reviews``.

    Takes no account of the filter on that field.
    """
    column = _BY_VALUE[field]
    asked = [*conditions(where, field), column.is_not(None)]
    return select(column, func.count()).where(*asked).group_by(column)


def iou_bins(where: FrameFilter) -> Any:
    """How many frames by IoU, as ``n`` and count: ``n / 100 <= iou < (n + 1) / 100``.

    Takes no account of the filter's bounds of the IoU. An IoU of 1 may be in a bin of its own.
    """
    if where.jobs or where.videos:
        asked = [*conditions(where, "iou"), FrameRow.iou.is_not(None)]
        number = _bin().label("iou_bin")
        return select(number, func.count()).where(*asked).group_by(number)
    # All frames: a range of the index by IoU for each bin, where a GROUP BY would sort them all. The other
    # columns are hidden, or SQLite would take an equality on one of them for the better index.
    start = select(cast(literal(0), Integer).label("n")).cte("bins", recursive=True)
    bins = start.union_all(select(start.c.n + 1).where(start.c.n < IOU_BINS))
    of_bin = (FrameRow.iou >= _bound(bins.c.n), FrameRow.iou < _bound(bins.c.n + 1))
    hidden = [
        c for name, column in _BY_VALUE.items() for c in _is_any(func.coalesce(column, ""), where, name)
    ]
    counted = select(func.count()).select_from(FrameRow).where(*of_bin, *hidden)
    return select(bins.c.n, counted.scalar_subquery())


def _bound(n: Any) -> ColumnElement[float]:
    """``n / 100`` as Python divides, to the last bit: so a sum of bins is what a filter's bound gives."""
    return cast(n, Float(53)) / literal(float(IOU_BINS), Float(53))


def _bin() -> ColumnElement[int]:
    """The bin of an IoU. The product alone may be one off: 0.29 * 100 is 28.999999999999996."""
    guess = cast(FrameRow.iou * literal(float(IOU_BINS), Float(53)), Integer)
    too_low, too_high = FrameRow.iou >= _bound(guess + 1), FrameRow.iou < _bound(guess)
    return case((too_low, guess + 1), (too_high, guess - 1), else_=guess)


def _is_any(column: Any, where: FrameFilter, name: str) -> list[ColumnElement[bool]]:
    values = getattr(where, name)
    return [column.in_([each.value for each in values])] if values else []
