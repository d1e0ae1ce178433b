"""Cancelling a job, and taking it up again: the statements behind ``Catalog.cancel_job``."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, and_, func, select, update

from broker import catalog_rows as rows
from broker.analysis_counts import recount
from broker.errors import NotFound, WorkCancelled
from broker.messages import Failure, segment_key
from broker.recipe import Frozen
from broker.tables import JobRow, LinkRow, SegmentRow
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
    videos = connection.scalars(select(LinkRow.video_id).where(mine)).all()
    if videos:
        connection.execute(update(JobRow).where(JobRow.id == job_id).values(cancelled_at=rows.now()))
    failure = cancelled(job_id).model_dump(mode="json")
    ended = {"state": State.FAILED.value, "failure": failure, "updated_at": rows.now()}
    connection.execute(update(LinkRow).where(mine).values(ended))
    segments = sum(
        _end_segments(connection, video_id, recipe_id, ended)
        for video_id in sorted({video_id for video_id in videos if video_id})
    )
    return _to_stop(connection, job_id, recipe_id).model_copy(
        update={"links": len(videos), "segments": segments}
    )


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


def _end_segments(connection: Connection, video_id: str, recipe_id: str, ended: dict[str, Any]) -> int:
    """Fails the open segments of an analysis, unless an open link of another job waits for them."""
    rows.lock(connection, video_id, recipe_id)
    waits = select(LinkRow.position).join(JobRow, JobRow.id == LinkRow.job_id)
    same = and_(LinkRow.video_id == video_id, JobRow.recipe_id == recipe_id)
    if connection.execute(waits.where(LinkRow.state.in_(OPEN), same).limit(1)).first() is not None:
        return 0
    mine = and_(
        SegmentRow.video_id == video_id,
        SegmentRow.recipe_id == recipe_id,
        SegmentRow.state.in_(OPEN),
    )
    count = connection.scalar(select(func.count()).select_from(SegmentRow).where(mine)) or 0
    ticket = rows.ticket()  # one will do: it is newer than all that were sent
    connection.execute(update(SegmentRow).where(mine).values(ended | {"ticket": ticket}))
    recount(connection, video_id, recipe_id)
    rows.settle_links(connection, video_id, recipe_id)
    return count


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
