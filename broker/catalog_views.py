"""What the catalog reads: rows into the views of ``broker.views``."""

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, Row, Select, literal, select

from broker.errors import NotFound
from broker.intake import Intake
from broker.messages import Drop, Failure, Funnel, Keeper, Video
from broker.priority import Priority
from broker.recipe import Recipe
from broker.tables import FrameRow, JobRow, LinkRow, RecipeRow, SegmentRow, VideoRow
from broker.views import JobView, LinkOrder, LinkView, SegmentView, State

Segments = dict[str, list[SegmentView]]
"""The segments of each video, by index."""


def job(connection: Connection, job_id: str, whole: bool) -> JobView:
    """One job.

    Args:
        connection: in a transaction that sees one snapshot.
        job_id: the job.
        whole: also every segment's drops and keepers.

    Raises:
        NotFound: if there is no such job.
    """
    row = connection.execute(_jobs().where(JobRow.id == job_id)).first()
    if row is None:
        raise no_job(job_id)
    return _job(connection, row, whole)


def jobs(connection: Connection) -> list[JobView]:
    """All jobs, the oldest first, without drops and keepers."""
    rows = connection.execute(_jobs().order_by(JobRow.created_at, JobRow.id)).all()
    return [_job(connection, row, whole=False) for row in rows]


def _jobs() -> Select[Any]:
    return select(JobRow, RecipeRow.json.label("recipe")).join(RecipeRow, RecipeRow.id == JobRow.recipe_id)


def link_order(connection: Connection, job_id: str, position: int) -> LinkOrder:
    """One link with what its job asks, in one query, however many links the job has.

    Raises:
        NotFound: if there is no such link.
    """
    row = connection.execute(
        select(LinkRow, JobRow.intake, JobRow.priority, RecipeRow.json.label("recipe"))
        .join(JobRow, JobRow.id == LinkRow.job_id)
        .join(RecipeRow, RecipeRow.id == JobRow.recipe_id)
        .where(LinkRow.job_id == job_id, LinkRow.position == position)
    ).first()
    if row is None:
        raise no_link(job_id, position)
    return LinkOrder(
        job_id=job_id,
        position=position,
        link=row.link,
        state=State(row.state),
        recipe=Recipe.model_validate(row.recipe),
        intake=intake_of(row.intake),
        video_id=row.video_id,
        parent=row.parent,
        listed=row.listed,
        priority=priority_of(row.priority),
    )


def open_children(connection: Connection, job_id: str, position: int) -> list[LinkView]:
    """The links that the list has brought and that have not ended, without their segments."""
    ended = [state for state in State if state.final]
    mine = _links(job_id).where(LinkRow.parent == position, LinkRow.state.not_in(ended))
    return [_link(row, defaultdict(list)) for row in connection.execute(mine)]


def video(connection: Connection, video_id: str) -> Video | None:
    """The video, if it was ever booked."""
    record = connection.scalar(select(VideoRow.json).where(VideoRow.id == video_id))
    return Video.model_validate(record) if record else None


def no_job(job_id: str) -> NotFound:
    """What to raise when a job is nowhere."""
    return NotFound(f"There is no job {job_id!r}.", "`hardpose status` lists the jobs that there are.")


def no_link(job_id: str, position: int) -> NotFound:
    """What to raise when a link is nowhere."""
    return NotFound(
        f"The job {job_id} has no link {position}.", "`hardpose status` lists the jobs that there are."
    )


def intake_of(record: dict[str, Any] | None) -> Intake:
    """The rules of a job's row; one of before there were any has the defaults."""
    return Intake.model_validate(record) if record else Intake()


def priority_of(record: str | None) -> Priority:
    """The priority of a job's row; one of before there was any is normal."""
    return Priority(record) if record else Priority.NORMAL


def _links(job_id: str) -> Select[Any]:
    return (
        select(LinkRow, VideoRow.json.label("video"))
        .outerjoin(VideoRow, VideoRow.id == LinkRow.video_id)
        .where(LinkRow.job_id == job_id)
        .order_by(LinkRow.position)
    )


def _job(connection: Connection, row: Row[Any], whole: bool) -> JobView:
    segments = _segments(connection, row, whole)
    links = [_link(link, segments) for link in connection.execute(_links(row.id))]
    return JobView(
        id=row.id,
        recipe=Recipe.model_validate(row.recipe),
        intake=intake_of(row.intake),
        created_at=row.created_at,
        links=tuple(links),
        priority=priority_of(row.priority),
        cancelled_at=row.cancelled_at,
    )


def _link(row: Row[Any], segments: Segments) -> LinkView:
    video = Video.model_validate(row.video) if row.video else None
    return LinkView(
        position=row.position,
        link=row.link,
        state=State(row.state),
        failure=_failure(row.failure),
        video=video,
        segments=tuple(segments[video.id]) if video else (),
        parent=row.parent,
        listed=row.listed,
        list_title=row.list_title or "",
        list_complete=row.list_complete is not False,
    )


def _segments(connection: Connection, job: Row[Any], whole: bool) -> Segments:
    videos = select(LinkRow.video_id).where(LinkRow.job_id == job.id)
    keepers = _keepers(connection, job, videos) if whole else {}
    query = (
        select(
            SegmentRow.video_id,
            SegmentRow.index,
            SegmentRow.start_ms,
            SegmentRow.end_ms,
            SegmentRow.state,
            SegmentRow.funnel,
            SegmentRow.failure,
            SegmentRow.seconds,
            (SegmentRow.drops if whole else literal(None)).label("drops"),
        )
        .where(SegmentRow.recipe_id == job.recipe_id, SegmentRow.video_id.in_(videos))
        .order_by(SegmentRow.video_id, SegmentRow.index)
    )
    found: Segments = defaultdict(list)
    for row in connection.execute(query):
        key = (row.video_id, row._mapping["index"])
        found[row.video_id].append(_segment(row, tuple(keepers.get(key, ()))))
    return found


def _segment(row: Row[Any], keepers: tuple[Keeper, ...]) -> SegmentView:
    return SegmentView(
        index=row._mapping["index"],  # a row is a tuple: its `index` is a method
        start_ms=row.start_ms,
        end_ms=row.end_ms,
        state=State(row.state),
        funnel=Funnel.model_validate(row.funnel) if row.funnel else Funnel(),
        drops=tuple(Drop.model_validate(drop) for drop in row.drops or ()),
        keepers=keepers,
        seconds=row.seconds or {},
        failure=_failure(row.failure),
    )


def _keepers(connection: Connection, job: Row[Any], videos: Any) -> dict[tuple[str, int], list[Keeper]]:
    query = (
        select(FrameRow.video_id, FrameRow.segment, FrameRow.keeper)
        .where(FrameRow.recipe_id == job.recipe_id, FrameRow.video_id.in_(videos))
        .order_by(FrameRow.time_ms)
    )
    found: dict[tuple[str, int], list[Keeper]] = defaultdict(list)
    for video_id, segment, keeper in connection.execute(query):
        found[video_id, segment].append(Keeper.model_validate(keeper))
    return found


def _failure(record: dict[str, Any] | None) -> Failure | None:
    return Failure.model_validate(record) if record else None
