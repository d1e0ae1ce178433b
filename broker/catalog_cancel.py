"""Cancelling a job, and taking it up again: the statements behind ``Catalog.cancel_job``."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, select, update

from broker import catalog_rows as rows
from broker.analysis_counts import recount
from broker.errors import NotFound, WorkCancelled
from broker.messages import Failure, segment_key
from broker.recipe import Frozen
from broker.tables import JobRow, LinkRow, SegmentRow
from broker.views import State


class CancelledWork(Frozen):
    """What a cancellation has ended in the books; the messages about it are void from now on."""

    links: tuple[int, ...]
    """Positions of the links that had not ended."""
    tickets: dict[str, str]
    """New tickets of the segments that had not ended and that no other job waits for, by ``Segment.key``."""


def cancel(connection: Connection, job_id: str) -> CancelledWork:
    """Ends what is open of the job. What another job waits for goes on; see ``Catalog.cancel_job``."""
    rows.alone(connection)
    rows.lock_job(connection, job_id)
    recipe_id = connection.scalar(select(JobRow.recipe_id).where(JobRow.id == job_id))
    if recipe_id is None:
        raise NotFound(f"There is no job {job_id!r}.", "`hardpose status` lists the jobs that there are.")
    mine = and_(LinkRow.job_id == job_id, LinkRow.state.in_((State.QUEUED, State.RUNNING)))
    found = connection.execute(
        select(LinkRow.position, LinkRow.video_id).where(mine).order_by(LinkRow.position)
    ).all()
    if found:
        connection.execute(update(JobRow).where(JobRow.id == job_id).values(cancelled_at=rows.now()))
    failure = cancelled(job_id).model_dump(mode="json")
    ended = {"state": State.FAILED.value, "failure": failure, "updated_at": rows.now()}
    connection.execute(update(LinkRow).where(mine).values(ended))
    tickets: dict[str, str] = {}
    for video_id in sorted({row.video_id for row in found if row.video_id}):
        tickets |= _end_segments(connection, video_id, recipe_id, ended)
    return CancelledWork(links=tuple(row.position for row in found), tickets=tickets)


def _end_segments(
    connection: Connection, video_id: str, recipe_id: str, ended: dict[str, Any]
) -> dict[str, str]:
    """Fails the open segments of an analysis, unless an open link of another job waits for them."""
    rows.lock(connection, video_id, recipe_id)
    waits = select(LinkRow.position).join(JobRow, JobRow.id == LinkRow.job_id)
    open_ = LinkRow.state.in_((State.QUEUED, State.RUNNING))
    same = and_(LinkRow.video_id == video_id, JobRow.recipe_id == recipe_id)
    if connection.execute(waits.where(open_, same).limit(1)).first() is not None:
        return {}
    mine = and_(
        SegmentRow.video_id == video_id,
        SegmentRow.recipe_id == recipe_id,
        SegmentRow.state.in_((State.QUEUED, State.RUNNING)),
    )
    indices = connection.scalars(select(SegmentRow.index).where(mine)).all()
    ticket = rows.ticket()  # one will do: it is newer than all that were sent
    connection.execute(update(SegmentRow).where(mine).values(ended | {"ticket": ticket}))
    recount(connection, video_id, recipe_id)
    rows.settle_links(connection, video_id, recipe_id)
    return {segment_key(video_id, recipe_id, index): ticket for index in indices}


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
