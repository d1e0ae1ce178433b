"""Cancelling a job, and taking it up again: the statements behind ``Catalog.cancel_job``."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, and_, func, select, update

from broker import catalog_rows as rows
from broker.analysis_counts import count_ended
from broker.errors import NotFound, WorkCancelled
from broker.messages import Failure, segment_key
from broker.recipe import Frozen
from broker.tables import AnalysisRow, JobRow, LinkRow, SegmentRow
from broker.views import State

OPEN = (State.QUEUED, State.RUNNING)


class CancelledWork(Frozen):
    """What the cancelling of a job has ended in the books, and what must be stopped elsewhere.

    What an earlier call has ended is to be stopped again: its process may have died before it could.
    """

    links: int = 0
    """Links that had not ended until now."""
    segments: int = 0
    """Segments that had not ended until now, and that no other job waits for."""
    positions: tuple[int, ...] = ()
    """Of the cancelled links: their messages are void."""
    tickets: dict[str, str] = Field(default_factory=dict)
    """Of the cancelled segments, newer than those of their messages; by ``Segment.key``."""


def cancel(connection: Connection, job_id: str) -> CancelledWork:
    """Ends what is open of the job. What another job waits for goes on; see ``Catalog.cancel_job``."""
    rows.alone(connection)
    rows.lock_job(connection, job_id)
    recipe_id = connection.scalar(select(JobRow.recipe_id).where(JobRow.id == job_id))
    if recipe_id is None:
        raise NotFound(f"There is no job {job_id!r}.", "`hardpose status` lists the jobs that there are.")
    mine = and_(LinkRow.job_id == job_id, LinkRow.state.in_(OPEN))
    videos = {found for found in connection.scalars(select(LinkRow.video_id).where(mine)) if found}
    some_at_once = list(rows.batched(sorted(videos)))
    # Locked in the order in which a segment is settled: its analysis before the links.
    for some in some_at_once:
        _lock(connection, some, recipe_id)
    failure = cancelled(job_id).model_dump(mode="json")
    ended = {"state": State.FAILED.value, "failure": failure, "updated_at": rows.now()}
    links = connection.execute(update(LinkRow).where(mine).values(ended)).rowcount
    if links:
        connection.execute(update(JobRow).where(JobRow.id == job_id).values(cancelled_at=rows.now()))
    segments = sum(_end_segments(connection, some, recipe_id, ended) for some in some_at_once)
    return _to_stop(connection, job_id, recipe_id).model_copy(update={"links": links, "segments": segments})


def _lock(connection: Connection, videos: Sequence[str], recipe_id: str) -> None:
    analyses = select(AnalysisRow.video_id).where(
        AnalysisRow.recipe_id == recipe_id, AnalysisRow.video_id.in_(videos)
    )
    connection.execute(analyses.order_by(AnalysisRow.video_id).with_for_update())


def _to_stop(connection: Connection, job_id: str, recipe_id: str) -> CancelledWork:
    links = select(LinkRow.position, LinkRow.video_id, LinkRow.failure).where(LinkRow.job_id == job_id)
    stopped = [row for row in connection.execute(links.order_by(LinkRow.position)) if _is_ours(row.failure)]
    segments = select(
        SegmentRow.video_id, SegmentRow.index.label("at"), SegmentRow.ticket, SegmentRow.failure
    ).where(
        SegmentRow.recipe_id == recipe_id,
        SegmentRow.state == State.FAILED,
        SegmentRow.video_id.in_(select(LinkRow.video_id).where(LinkRow.job_id == job_id)),
    )
    return CancelledWork(
        positions=tuple(row.position for row in stopped),
        tickets={
            segment_key(row.video_id, recipe_id, row.at): row.ticket
            for row in connection.execute(segments)
            if _is_ours(row.failure)
        },
    )


def _is_ours(failure: dict[str, Any] | None) -> bool:
    return failure is not None and failure.get("code") == WorkCancelled.code


def _end_segments(
    connection: Connection, videos: Sequence[str], recipe_id: str, ended: dict[str, Any]
) -> int:
    """Fails the open segments of analyses, but for those that an open link of another job waits for.

    A handful of statements for all of them: nobody else writes meanwhile, and a job may have 10,000 videos.
    """
    waits = select(LinkRow.video_id).join(JobRow, JobRow.id == LinkRow.job_id)
    waits = waits.where(LinkRow.state.in_(OPEN), LinkRow.video_id.in_(videos), JobRow.recipe_id == recipe_id)
    free = sorted(set(videos) - set(connection.scalars(waits)))
    mine = and_(SegmentRow.video_id.in_(free), SegmentRow.recipe_id == recipe_id)
    is_open = SegmentRow.state.in_(OPEN)
    counted = (
        select(SegmentRow.video_id, func.count().label("n"))
        .where(mine, is_open)
        .group_by(SegmentRow.video_id)
    )
    counts: dict[str, int] = {row.video_id: row.n for row in connection.execute(counted)}
    begun = connection.scalars(select(SegmentRow.video_id).where(mine, ~is_open).distinct()).all()
    ticket = rows.ticket()  # one will do: it is newer than all that were sent
    connection.execute(update(SegmentRow).where(mine, is_open).values(ended | {"ticket": ticket}))
    count_ended(connection, recipe_id, counts, ended["updated_at"])
    for video_id in sorted(begun):  # the link of any other has failed already, and so has all of it
        rows.settle_links(connection, video_id, recipe_id)
    return sum(counts.values())


def cancelled(job_id: str) -> Failure:
    """The failure of whatever the cancelling of a job has ended."""
    return Failure.of(
        WorkCancelled(
            f"The job {job_id} was cancelled.", f"hardpose retry {job_id} --reason {WorkCancelled.code}"
        )
    )


def taken_up(connection: Connection, job_ids: Sequence[str]) -> None:
    """Jobs of which something is queued again are cancelled no more."""
    connection.execute(update(JobRow).where(JobRow.id.in_(job_ids)).values(cancelled_at=None))
