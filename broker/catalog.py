"""The books: jobs, links, videos, segments, frames. Each method is one transaction and may be repeated."""

import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from broker import catalog_views
from broker.database import Database
from broker.errors import HardposeError, NotFound
from broker.messages import Failure, Keeper, Recipe, Segment, SegmentResult, Video
from broker.tables import AnalysisRow, Base, FrameRow, JobRow, LinkRow, RecipeRow, SegmentRow, VideoRow
from broker.views import JobView, LinkView, State


class JobConflict(HardposeError):
    """A job of that name exists under another recipe."""

    code = "job_conflict"


class Catalog:
    """The catalog of all work.

    The truth about progress: what is *done* here stays done, whoever asks again. Opens nothing until
    used; safe to share between threads, to pickle and to carry over a ``fork``.

    Every method may raise CatalogUnavailable (try later), CatalogBroken or DiskFull from
    ``broker.database``; then nothing was written.

    Args:
        url: ``sqlite:///file`` or ``postgresql+psycopg://user:password@host/name``.

    Raises:
        SettingsError: if the URL is of neither kind.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def migrate(self) -> None:
        """Makes or upgrades the tables. Any number of processes may call it at once.

        Raises:
            CatalogNewer: if a newer release of hardpose has written the catalog.
        """
        self._database.migrate()

    def dispose(self) -> None:
        """Closes this process's connections; the next use opens new ones."""
        self._database.dispose()

    def create_job(self, job_id: str, recipe: Recipe, links: Sequence[str]) -> None:
        """Makes a job, or takes an existing one up again.

        Of an existing job: links that it does not have yet are added behind the others, those that
        failed or ended partial are queued again, the rest stays as it is.

        Raises:
            JobConflict: if the job exists under another recipe.
        """

        def work(connection: Connection) -> None:
            _add(connection, RecipeRow, id=recipe.id, json=recipe.model_dump(mode="json"))
            _add(connection, JobRow, id=job_id, recipe_id=recipe.id, created_at=_now())
            # The row is the lock: two processes that create one job do not number the same link twice.
            known = connection.execute(
                select(JobRow.recipe_id).where(JobRow.id == job_id).with_for_update()
            ).scalar_one()
            if known != recipe.id:
                raise JobConflict(
                    f"The job {job_id} exists under the recipe {known}, not {recipe.id}.",
                    "Start a new job for the new recipe; results that both share are used again.",
                )
            _requeue_links(connection, job_id)
            _append_links(connection, job_id, links)

        self._database.write(work)

    def start_link(self, job_id: str, position: int) -> None:
        """A queued link is now worked on; any other state stays.

        Raises:
            NotFound: if there is no such link.
        """

        def work(connection: Connection) -> None:
            where = _link(connection, job_id, position)
            change = update(LinkRow).where(where, LinkRow.state == State.QUEUED)
            connection.execute(change.values(state=State.RUNNING.value, failure=None, updated_at=_now()))

        self._database.write(work)

    def fail_link(self, job_id: str, position: int, failure: Failure) -> None:
        """The link could not become segments; a link that is done stays done.

        Raises:
            NotFound: if there is no such link.
        """

        def work(connection: Connection) -> None:
            where = _link(connection, job_id, position)
            change = update(LinkRow).where(where, LinkRow.state != State.DONE)
            record = failure.model_dump(mode="json")
            connection.execute(change.values(state=State.FAILED.value, failure=record, updated_at=_now()))

        self._database.write(work)

    def plan_video(
        self, job_id: str, position: int, video: Video, segments: Sequence[Segment]
    ) -> list[Segment]:
        """Books the segments of a link's video and says which are to be sent.

        Segments that are done, by whatever job under the same recipe, stay done. All others are queued
        with a new ticket, so that messages sent for them earlier are out of date. With nothing left to
        do the link is settled at once.

        Args:
            job_id: the job.
            position: the link's place in it.
            video: what the link led to; a video that is known is brought up to date.
            segments: the whole plan of the video, under the job's recipe.

        Returns:
            The segments that are not done, each with its new ticket.

        Raises:
            NotFound: if there is no such link.
        """

        def work(connection: Connection) -> list[Segment]:
            where = _link(connection, job_id, position)
            recipe_id = connection.execute(select(JobRow.recipe_id).where(JobRow.id == job_id)).scalar_one()
            _put_video(connection, video)
            _add(connection, AnalysisRow, video_id=video.id, recipe_id=recipe_id)
            _lock(connection, video.id, recipe_id)
            todo = _put_segments(connection, video.id, recipe_id, segments)
            link = {"video_id": video.id, "state": State.RUNNING.value, "failure": None, "updated_at": _now()}
            connection.execute(update(LinkRow).where(where).values(link))
            _settle_links(connection, video.id, recipe_id)
            return todo

        return self._database.write(work)

    def settle_segment(self, result: SegmentResult) -> bool:
        """Books a segment's frames, funnel, drops and times, and calls it done.

        A segment that is done stays as it is; one that had failed is done now.

        Returns:
            Whether this ended the video's last open segment: True exactly once, however many
            processes settle at the same time.

        Raises:
            FunnelMismatch: if the frames do not add up; nothing is written.
            NotFound: if the segment was never planned.
        """
        values = _done(result)
        segment = result.segment

        def work(connection: Connection) -> bool:
            state, _ = _standing(connection, segment)
            if state == State.DONE:
                return False
            connection.execute(update(SegmentRow).where(_row_of(segment)).values(values))
            _put_frames(connection, segment, result.keepers)
            last = _settle_links(connection, segment.video.id, segment.recipe.id)
            return last and not state.final

        return self._database.write(work)

    def fail_segment(self, segment: Segment, failure: Failure) -> bool:
        """Books a segment's failure. One that has ended stays as it is, and so does one that was
        sent anew since: the failure of an older message (its ticket differs) is no news.

        Returns:
            Whether this ended the video's last open segment: True exactly once.

        Raises:
            NotFound: if the segment was never planned.
        """

        def work(connection: Connection) -> bool:
            state, ticket = _standing(connection, segment)
            if state.final or (segment.ticket and segment.ticket != ticket):
                return False
            record = {"state": State.FAILED.value, "failure": failure.model_dump(mode="json")}
            change = update(SegmentRow).where(_row_of(segment)).values(record | {"updated_at": _now()})
            connection.execute(change)
            return _settle_links(connection, segment.video.id, segment.recipe.id)

        return self._database.write(work)

    def job(self, job_id: str) -> JobView:
        """The whole job, with every segment's drops and keepers.

        Raises:
            NotFound: if there is no such job.
        """
        return self._database.read(lambda connection: catalog_views.job(connection, job_id, whole=True))

    def job_light(self, job_id: str) -> JobView:
        """The job without drops and keepers: cheap enough to poll.

        Raises:
            NotFound: if there is no such job.
        """
        return self._database.read(lambda connection: catalog_views.job(connection, job_id, whole=False))

    def jobs(self) -> list[JobView]:
        """All jobs, the oldest first, without drops and keepers."""
        return self._database.read(catalog_views.jobs)

    def unfinished(self, job_id: str) -> list[LinkView]:
        """The job's links that have not ended, by position, without drops and keepers.

        Raises:
            NotFound: if there is no such job.
        """
        return [link for link in self.job_light(job_id).links if not link.state.final]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _text(value: str) -> str:
    """``value`` as PostgreSQL takes it: no U+0000, no half of a surrogate pair."""
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _insert(connection: Connection, table: type[Base]) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _add(connection: Connection, table: type[Base], **values: Any) -> None:
    """Inserts the row unless its key is there."""
    connection.execute(_insert(connection, table).values(values).on_conflict_do_nothing())


def _link(connection: Connection, job_id: str, position: int) -> ColumnElement[bool]:
    where = and_(LinkRow.job_id == job_id, LinkRow.position == position)
    if connection.execute(select(LinkRow.position).where(where)).first() is None:
        raise NotFound(f"The job {job_id} has no link {position}.", "List the jobs that there are.")
    return where


def _requeue_links(connection: Connection, job_id: str) -> None:
    again = update(LinkRow).where(LinkRow.job_id == job_id, LinkRow.state.in_((State.FAILED, State.PARTIAL)))
    connection.execute(again.values(state=State.QUEUED.value, failure=None, updated_at=_now()))


def _append_links(connection: Connection, job_id: str, links: Sequence[str]) -> None:
    has = Counter(connection.scalars(select(LinkRow.link).where(LinkRow.job_id == job_id)))
    position = sum(has.values())
    rows: list[dict[str, Any]] = []
    for link in links:
        if has[link]:
            has[link] -= 1
            continue
        row = {"job_id": job_id, "position": position + len(rows), "link": link}
        rows.append(row | {"state": State.QUEUED.value, "updated_at": _now()})
    if rows:
        connection.execute(_insert(connection, LinkRow), rows)


def _put_video(connection: Connection, video: Video) -> None:
    columns = {name: _text(getattr(video, name)) for name in ("source", "title", "uploader", "licence")}
    row = {**columns, "duration_ms": video.duration_ms, "json": video.model_dump(mode="json")}
    insert = _insert(connection, VideoRow).values(id=video.id, **row)
    connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_=row))


def _lock(connection: Connection, video_id: str, recipe_id: str) -> None:
    """Makes all who change this analysis wait in line (on SQLite they already do)."""
    row = and_(AnalysisRow.video_id == video_id, AnalysisRow.recipe_id == recipe_id)
    connection.execute(select(AnalysisRow.video_id).where(row).with_for_update())


def _segments_of(video_id: str, recipe_id: str) -> ColumnElement[bool]:
    return and_(SegmentRow.video_id == video_id, SegmentRow.recipe_id == recipe_id)


def _row_of(segment: Segment) -> ColumnElement[bool]:
    return and_(_segments_of(segment.video.id, segment.recipe.id), SegmentRow.index == segment.index)


def _put_segments(
    connection: Connection, video_id: str, recipe_id: str, segments: Sequence[Segment]
) -> list[Segment]:
    """Plans anew what is not done: an older plan of a file that has changed since leaves no open rows."""
    mine = _segments_of(video_id, recipe_id)
    connection.execute(delete(SegmentRow).where(mine, SegmentRow.state != State.DONE))
    done = set(connection.scalars(select(SegmentRow.index).where(mine)))
    todo = [
        segment.model_copy(update={"ticket": secrets.token_hex(8)})
        for segment in segments
        if segment.index not in done
    ]
    rows = [
        {
            "video_id": video_id,
            "recipe_id": recipe_id,
            "index": segment.index,
            "start_ms": segment.start_ms,
            "end_ms": segment.end_ms,
            "state": State.QUEUED.value,
            "ticket": segment.ticket,
            "updated_at": _now(),
        }
        for segment in todo
    ]
    if rows:
        connection.execute(_insert(connection, SegmentRow), rows)
    return todo


def _standing(connection: Connection, segment: Segment) -> tuple[State, str]:
    """The segment's state and ticket, read under the lock of its analysis."""
    _lock(connection, segment.video.id, segment.recipe.id)
    row = connection.execute(
        select(SegmentRow.state, SegmentRow.ticket).where(
            _row_of(segment), SegmentRow.start_ms == segment.start_ms, SegmentRow.end_ms == segment.end_ms
        )
    ).first()
    if row is None:
        raise NotFound(
            f"The segment {segment.key} from {segment.start_ms} to {segment.end_ms} ms is not planned.",
            "Check that all workers use the same catalog (HARDPOSE_CATALOG_URL); then run the job again.",
        )
    return State(row.state), row.ticket


def _done(result: SegmentResult) -> dict[str, Any]:
    """The columns of a segment that is done.

    Raises:
        FunnelMismatch: if the frames do not add up.
    """
    funnel = result.check_open().funnel()
    return {
        "state": State.DONE.value,
        "funnel": funnel.model_dump(mode="json"),
        "drops": [drop.model_dump(mode="json") for drop in result.drops],
        "seconds": {stage.value: seconds for stage, seconds in result.seconds.items()},
        "failure": None,
        "updated_at": _now(),
    }


def _put_frames(connection: Connection, segment: Segment, keepers: Sequence[Keeper]) -> None:
    rows = [
        {
            "video_id": segment.video.id,
            "recipe_id": segment.recipe.id,
            "time_ms": keeper.time_ms,
            "segment": segment.index,
            "verdict": keeper.verdict,
            "value": keeper.value,
            "iou": keeper.iou,
            "phash": keeper.phash,
            "keeper": keeper.model_dump(mode="json"),
        }
        for keeper in keepers
    ]
    if rows:
        insert = _insert(connection, FrameRow)
        taken = {name: insert.excluded[name] for name in rows[0]}
        keys = ["video_id", "recipe_id", "time_ms"]
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=taken), rows)


def _settle_links(connection: Connection, video_id: str, recipe_id: str) -> bool:
    """If no segment is open, ends every link that points to this analysis.

    Returns:
        Whether no segment is open.
    """
    count = select(SegmentRow.state, func.count()).where(_segments_of(video_id, recipe_id))
    states = {State(state): n for state, n in connection.execute(count.group_by(SegmentRow.state)).tuples()}
    if any(not state.final for state in states):
        return False
    failed = states.get(State.FAILED, 0)
    state = State.DONE if not failed else State.PARTIAL if states.get(State.DONE) else State.FAILED
    first = select(SegmentRow.failure).where(
        _segments_of(video_id, recipe_id), SegmentRow.state == State.FAILED
    )
    failure = connection.scalars(first.order_by(SegmentRow.index).limit(1)).first()
    jobs = select(JobRow.id).where(JobRow.recipe_id == recipe_id)
    links = update(LinkRow).where(LinkRow.video_id == video_id, LinkRow.job_id.in_(jobs))
    connection.execute(links.values(state=state.value, failure=failure, updated_at=_now()))
    return True
