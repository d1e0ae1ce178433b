"""The books of videos and their segments, as lists show them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select, tuple_

from broker.analysis_counts import add_funnels, funnel_of
from broker.cursors import Key, check_limit, pack, storable, typed
from broker.database import Database
from broker.errors import NotFound
from broker.frame_views import Page
from broker.job_books import segment_counts
from broker.messages import Video
from broker.tables import AnalysisRow, JobRow, LinkRow, SegmentRow, VideoRow
from broker.views import State
from broker.work_views import SegmentSummary, VideoSummary

_SEGMENT_KEY = (SegmentRow.video_id, SegmentRow.recipe_id, SegmentRow.index)


class VideoBooks:
    """Videos and segments. Reached as ``catalog.videos``; raises as every method of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, limit: int = 50, cursor: str | None = None, job: str | None = None) -> Page[VideoSummary]:
        """Videos by id.

        Args:
            limit: 1 to 500.
            cursor: ``next`` of the page before.
            job: only those that its links have led to; of a job that is not there, there are none.

        Raises:
            BadCursor: no page of videos has given the cursor.
            ValueError: if ``limit`` is out of bounds.
        """
        check_limit(limit)
        key = typed(cursor, "videos", (str,)) if cursor else []
        if job is not None and not storable(job):
            return Page(items=(), total=0)

        def work(connection: Connection) -> Page[VideoSummary]:
            of_job = select(LinkRow.video_id).where(LinkRow.job_id == job, LinkRow.video_id.is_not(None))
            asked = [] if job is None else [VideoRow.id.in_(of_job)]
            total = connection.scalar(select(func.count()).select_from(VideoRow).where(*asked)) or 0
            behind = [VideoRow.id > key[0]] if key else []
            videos = select(VideoRow.id, VideoRow.json).where(*asked, *behind).order_by(VideoRow.id)
            rows = connection.execute(videos.limit(limit + 1)).all()
            more = pack("videos", [rows[limit - 1].id]) if len(rows) > limit else None
            return Page(items=_summaries(connection, rows[:limit]), next=more, total=total)

        return self._database.read(work)

    def get(self, video_id: str) -> VideoSummary:
        """One video.

        Raises:
            NotFound: if there is no such video.
        """

        def work(connection: Connection) -> VideoSummary:
            rows = connection.execute(select(VideoRow.id, VideoRow.json).where(VideoRow.id == video_id)).all()
            if not rows:
                raise _no_video(video_id)
            return _summaries(connection, rows)[0]

        if not storable(video_id):
            raise _no_video(video_id)
        return self._database.read(work)

    def segments(
        self,
        video_id: str | None = None,
        job: str | None = None,
        states: Sequence[State] = (),
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[SegmentSummary]:
        """Segments by video, recipe and index.

        Args:
            video_id: only this video's, over all recipes.
            job: only those of its videos under its recipe.
            states: only those in any of them; none stands for all.
            limit: 1 to 500.
            cursor: ``next`` of the page before.

        Raises:
            BadCursor: no page of segments has given the cursor.
            ValueError: if ``limit`` is out of bounds.
        """
        check_limit(limit)
        key = typed(cursor, "segments", (str, str, int)) if cursor else []
        if not storable(f"{video_id}{job}"):
            return Page(items=(), total=0)
        asked = _conditions(video_id, job, states)
        return self._database.read(lambda connection: _segments(connection, asked, limit, key))


def _no_video(video_id: str) -> NotFound:
    return NotFound(
        f"There is no video {video_id[:300]!r}.", "A list of videos gives the ids that there are."
    )


def _summaries(connection: Connection, videos: Sequence[Row[Any]]) -> tuple[VideoSummary, ...]:
    ids = [video.id for video in videos]
    jobs, analyses = defaultdict(list), defaultdict(list)
    has = select(LinkRow.video_id, JobRow.id, JobRow.created_at).join(JobRow, JobRow.id == LinkRow.job_id)
    has = has.where(LinkRow.video_id.in_(ids)).distinct()
    for row in connection.execute(has.order_by(JobRow.created_at, JobRow.id)):
        jobs[row.video_id].append(row.id)
    sums = (AnalysisRow.segments, AnalysisRow.done, AnalysisRow.failed, AnalysisRow.funnel)
    for row in connection.execute(select(AnalysisRow.video_id, *sums).where(AnalysisRow.video_id.in_(ids))):
        analyses[row.video_id].append(row)
    return tuple(
        VideoSummary(
            video=Video.model_validate(video.json),
            jobs=tuple(jobs[video.id]),
            segments=segment_counts(analyses[video.id]),
            funnel=funnel_of(add_funnels(row.funnel for row in analyses[video.id])),
        )
        for video in videos
    )


def _conditions(video_id: str | None, job: str | None, states: Sequence[State]) -> list[Any]:
    asked: list[Any] = []
    if video_id is not None:
        asked.append(SegmentRow.video_id == video_id)
    if job is not None:
        links = select(LinkRow.video_id, JobRow.recipe_id).join(JobRow, JobRow.id == LinkRow.job_id)
        mine = links.where(JobRow.id == job, LinkRow.video_id.is_not(None))
        asked.append(tuple_(SegmentRow.video_id, SegmentRow.recipe_id).in_(mine))
    if states:
        asked.append(SegmentRow.state.in_([state.value for state in states]))
    return asked


def _segments(connection: Connection, asked: list[Any], limit: int, key: list[Key]) -> Page[SegmentSummary]:
    total = connection.scalar(select(func.count()).select_from(SegmentRow).where(*asked)) or 0
    behind = [tuple_(*_SEGMENT_KEY) > tuple_(*key)] if key else []
    own = (SegmentRow.start_ms, SegmentRow.end_ms, SegmentRow.state, SegmentRow.funnel)
    more = (SegmentRow.seconds, SegmentRow.failure, SegmentRow.updated_at)
    rows = connection.execute(
        select(*_SEGMENT_KEY, *own, *more).where(*asked, *behind).order_by(*_SEGMENT_KEY).limit(limit + 1)
    ).all()
    last = rows[limit - 1]._mapping if len(rows) > limit else None
    following = pack("segments", [last[column.key] for column in _SEGMENT_KEY]) if last else None
    return Page(items=tuple(_segment(row) for row in rows[:limit]), next=following, total=total)


def _segment(row: Row[Any]) -> SegmentSummary:
    values = dict(row._mapping) | {"funnel": funnel_of(row.funnel), "seconds": row.seconds or {}}
    return SegmentSummary(**values)
