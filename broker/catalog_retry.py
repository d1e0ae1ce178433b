"""Which failed links are worth another try: the statements behind ``Catalog.retry``."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, select, update

from broker.catalog_cancel import taken_up
from broker.catalog_rows import now
from broker.errors import NotFound, VideoForgotten, WorkCancelled
from broker.tables import JobRow, LinkRow, SegmentRow
from broker.views import State

Place = tuple[str, int]
"""A link: the job's id, and the position in it."""


def requeue(connection: Connection, reasons: Collection[str], job_id: str | None) -> dict[str, list[int]]:
    """Queues the links that failed for any of ``reasons``, or for whatever; their positions by job.

    Raises:
        NotFound: if there is no such job.
    """
    found = _failed(connection, job_id, lock=True)
    if not reasons:
        # What was ended on purpose comes back when it is asked for by name.
        kept = {VideoForgotten.code} if job_id else {VideoForgotten.code, WorkCancelled.code}
        found = {place: own for place, own in found.items() if own.isdisjoint(kept)}
    chosen = sorted(place for place, own in found.items() if not reasons or not own.isdisjoint(reasons))
    again = update(LinkRow).where(
        LinkRow.job_id == bindparam("in_job"), LinkRow.position == bindparam("at_position")
    )
    again = again.values(state=State.QUEUED.value, failure=None, updated_at=now())
    if chosen:
        connection.execute(again, [{"in_job": job, "at_position": position} for job, position in chosen])
    taken_up(connection, sorted({job for job, _ in chosen}))
    by_job: dict[str, list[int]] = defaultdict(list)
    for job, position in chosen:
        by_job[job].append(position)
    return dict(by_job)


def known_reasons(connection: Connection, job_id: str | None) -> dict[str, int]:
    """How many links each code and each action would queue again.

    Raises:
        NotFound: if there is no such job.
    """
    counts = Counter(reason for own in _failed(connection, job_id, lock=False).values() for reason in own)
    return dict(sorted(counts.items()))


def _failed(connection: Connection, job_id: str | None, lock: bool) -> dict[Place, set[str]]:
    """The links that failed or ended partial, each with the codes and actions of all its failures."""
    failed: ColumnElement[bool] = LinkRow.state.in_((State.FAILED, State.PARTIAL))
    if job_id is not None:
        if connection.scalar(select(JobRow.id).where(JobRow.id == job_id)) is None:
            raise NotFound(f"There is no job {job_id!r}.", "`hardpose status` lists the jobs that there are.")
        failed = and_(failed, LinkRow.job_id == job_id)
    links = select(LinkRow.job_id, LinkRow.position, LinkRow.failure).where(failed)
    if lock:
        # Of two who ask at once, each link is queued, and sent, by one.
        links = links.order_by(LinkRow.job_id, LinkRow.position).with_for_update()
    own = {(job, position): set(_reasons(failure)) for job, position, failure in connection.execute(links)}
    for job, position, failure in connection.execute(_segments().where(failed)):
        if (job, position) in own:
            own[job, position].update(_reasons(failure))
    return own


def _segments() -> Select[Any]:
    same = and_(SegmentRow.video_id == LinkRow.video_id, SegmentRow.recipe_id == JobRow.recipe_id)
    return (
        select(LinkRow.job_id, LinkRow.position, SegmentRow.failure)
        .join(JobRow, JobRow.id == LinkRow.job_id)
        .join(SegmentRow, same)
        .where(SegmentRow.state == State.FAILED)
    )


def _reasons(failure: dict[str, Any] | None) -> Iterator[str]:
    yield from (failure[name] for name in ("code", "action") if failure and name in failure)
