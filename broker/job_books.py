"""The books of jobs, as lists show them: sums that are kept with each analysis, no segment, no frame."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, and_, case, func, select, tuple_, type_coerce
from sqlalchemy.sql.functions import aggregate_strings

from broker.analysis_counts import add_funnels, add_seconds, funnel_of
from broker.catalog_views import no_job
from broker.cursors import check_limit, pack, storable, typed
from broker.database import Database
from broker.errors import NotFound
from broker.frame_views import Page
from broker.recipe import Recipe
from broker.tables import AnalysisRow, JobRow, LinkRow, RecipeRow, VideoRow
from broker.views import State
from broker.work_views import JobSummary, LinkSummary, Priority, SegmentCounts


class JobBooks:
    """Jobs and their links. Reached as ``catalog.work``; raises as every method of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, limit: int = 50, cursor: str | None = None, states: Sequence[State] = ()
    ) -> Page[JobSummary]:
        """Jobs, the newest first.

        Args:
            limit: 1 to 500.
            cursor: ``next`` of the page before.
            states: only jobs in any of them; none stands for all.

        Raises:
            BadCursor: no page of jobs has given the cursor.
            ValueError: if ``limit`` is out of bounds.
        """
        check_limit(limit)
        key = typed(cursor, "jobs", (str, str)) if cursor else []

        def work(connection: Connection) -> Page[JobSummary]:
            asked = [JobRow.id.in_(_in_states(states))] if states else []
            total = connection.scalar(select(func.count()).select_from(JobRow).where(*asked)) or 0
            order = tuple_(JobRow.created_at, JobRow.id)
            behind = [order < tuple_(*key)] if key else []
            jobs = select(JobRow).where(*asked, *behind)
            jobs = jobs.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit + 1)
            rows = connection.execute(jobs).all()
            more = len(rows) > limit
            items = _summaries(connection, rows[:limit])
            last = rows[limit - 1] if more else None
            return Page(
                items=items, next=pack("jobs", [last.created_at, last.id]) if last else None, total=total
            )

        return self._database.read(work)

    def summary(self, job_id: str) -> JobSummary:
        """One job.

        Raises:
            NotFound: if there is no such job.
        """
        return self._database.read(lambda connection: _summary(connection, job_id))

    def recipe(self, recipe_id: str) -> Recipe:
        """The recipe of that id; it stays as long as any job has it.

        Raises:
            NotFound: if no job has it.
        """
        asked = select(RecipeRow.json).where(RecipeRow.id == recipe_id)
        found = self._database.read(lambda connection: connection.scalar(asked))
        if found is None:
            raise NotFound(f"No job has the recipe {recipe_id}.", "`hardpose status` lists the jobs.")
        return Recipe.model_validate(found)

    def links(
        self, job_id: str, limit: int = 50, cursor: str | None = None, states: Sequence[State] = ()
    ) -> Page[LinkSummary]:
        """A job's links, lists among them, by position.

        Args:
            job_id: the job.
            limit: 1 to 500.
            cursor: ``next`` of the page before.
            states: only links in any of them; none stands for all.

        Raises:
            NotFound: if there is no such job.
            BadCursor: no page of links has given the cursor.
            ValueError: if ``limit`` is out of bounds.
        """
        check_limit(limit)
        key = typed(cursor, "links", (int,)) if cursor else []

        def work(connection: Connection) -> Page[LinkSummary]:
            _check_job(connection, job_id)
            asked = [LinkRow.job_id == job_id]
            if states:
                asked.append(LinkRow.state.in_([state.value for state in states]))
            total = connection.scalar(select(func.count()).select_from(LinkRow).where(*asked)) or 0
            behind = [LinkRow.position > key[0]] if key else []
            links = _links().where(*asked, *behind).order_by(LinkRow.position).limit(limit + 1)
            rows = connection.execute(links).all()
            more = pack("links", [rows[limit - 1].position]) if len(rows) > limit else None
            return Page(items=tuple(_link(row) for row in rows[:limit]), next=more, total=total)

        return self._database.read(work)


def _check_job(connection: Connection, job_id: str) -> None:
    found = select(JobRow.id).where(JobRow.id == job_id)
    if not storable(job_id) or connection.execute(found).first() is None:
        raise no_job(job_id)


def _summary(connection: Connection, job_id: str) -> JobSummary:
    _check_job(connection, job_id)
    (found,) = _summaries(connection, connection.execute(select(JobRow).where(JobRow.id == job_id)).all())
    return found


_IS_LIST = LinkRow.listed.is_not(None)
_OPEN = [state.value for state in State if not state.final]


def _in_states(states: Sequence[State]) -> Select[Any]:
    """Ids of the jobs in these states."""
    jobs = job_states().subquery()
    return select(jobs.c.id).where(jobs.c.state.in_([each.value for each in states]))


def job_states() -> Select[Any]:
    """Ids (``id``) and states (``state``) of all jobs, by the same rule as ``_state``."""

    def some(*which: State) -> Any:
        of_them = and_(LinkRow.state.in_([state.value for state in which]), ~_IS_LIST)
        return func.coalesce(func.sum(case((of_them, 1), else_=0)), 0)

    lists = func.coalesce(func.sum(case((_IS_LIST, 1), else_=0)), 0)
    begun = some(State.RUNNING, State.DONE, State.PARTIAL, State.FAILED) + lists
    not_done = some(State.PARTIAL, State.FAILED)
    state = case(
        (and_(some(State.QUEUED, State.RUNNING) > 0, begun == 0), State.QUEUED.value),
        (some(State.QUEUED, State.RUNNING) > 0, State.RUNNING.value),
        (not_done == 0, State.DONE.value),
        (some(State.DONE, State.PARTIAL) == 0, State.FAILED.value),
        else_=State.PARTIAL.value,
    )
    jobs = select(JobRow.id, state.label("state")).outerjoin(LinkRow, LinkRow.job_id == JobRow.id)
    return jobs.group_by(JobRow.id)


def _state(links: dict[State, int], lists: int) -> State:
    begun = lists + sum(n for state, n in links.items() if state is not State.QUEUED)
    if any(not state.final for state in links):
        return State.RUNNING if begun else State.QUEUED
    if not links.get(State.FAILED) and not links.get(State.PARTIAL):
        return State.DONE
    return State.PARTIAL if links.get(State.DONE) or links.get(State.PARTIAL) else State.FAILED


def _summaries(connection: Connection, jobs: Sequence[Row[Any]]) -> tuple[JobSummary, ...]:
    ids = [job.id for job in jobs]
    links = defaultdict(list)
    for row in connection.execute(_link_counts().where(LinkRow.job_id.in_(ids))):
        links[row.job_id].append(row)
    sums = {row.job_id: row for row in connection.execute(_sums(ids))}
    return tuple(_job(job, links[job.id], sums.get(job.id)) for job in jobs)


def _link_counts() -> Any:
    listed = _IS_LIST.label("is_list")
    newest = func.max(LinkRow.updated_at).label("newest")
    counted = select(LinkRow.job_id, LinkRow.state, listed, func.count().label("n"), newest)
    return counted.group_by(LinkRow.job_id, LinkRow.state, listed)


def _sums(job_ids: Sequence[str]) -> Select[Any]:
    """The sums over each job's analyses: a video that is asked for twice counts once.

    Funnels and seconds come as one text a job, joined by commas: a job with 10,000 videos is read so
    in a third of the time.
    """
    pairs = (
        select(LinkRow.job_id, LinkRow.video_id, JobRow.recipe_id)
        .join(JobRow, JobRow.id == LinkRow.job_id)
        .where(LinkRow.job_id.in_(job_ids), LinkRow.video_id.is_not(None))
        .distinct()
        .subquery()
    )
    same = and_(AnalysisRow.video_id == pairs.c.video_id, AnalysisRow.recipe_id == pairs.c.recipe_id)
    counts = (AnalysisRow.segments, AnalysisRow.done, AnalysisRow.failed)
    texts = {"funnels": AnalysisRow.funnel, "seconds": AnalysisRow.seconds}
    return (
        select(
            pairs.c.job_id,
            func.max(AnalysisRow.updated_at).label("newest"),
            *(func.sum(column).label(column.key) for column in counts),
            *(aggregate_strings(type_coerce(text, Text), ",").label(name) for name, text in texts.items()),
        )
        .join(pairs, same)
        .group_by(pairs.c.job_id)
    )


def _job(job: Row[Any], links: Sequence[Row[Any]], sums: Row[Any] | None) -> JobSummary:
    counts: dict[State, int] = {State(row.state): row.n for row in links if not row.is_list}
    lists = sum(row.n for row in links if row.is_list)
    times = [
        job.created_at,
        job.cancelled_at,
        *(row.newest for row in links),
        sums.newest if sums else None,
    ]
    return JobSummary(
        id=job.id,
        recipe_id=job.recipe_id,
        created_at=job.created_at,
        updated_at=max(filter(None, times)),
        priority=Priority(job.priority or Priority.NORMAL),
        cancelled_at=job.cancelled_at,
        state=_state(counts, lists),
        links=counts,
        lists=lists,
        segments=segment_counts([sums] if sums else []),
        funnel=funnel_of(add_funnels(_parsed(sums.funnels if sums else None))),
        seconds=add_seconds(_parsed(sums.seconds if sums else None)),
    )


def _parsed(joined: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(f"[{joined or ''}]")
    return found


def segment_counts(analyses: Sequence[Any]) -> SegmentCounts:
    """The sum over analyses' rows."""
    return SegmentCounts(
        total=sum(row.segments for row in analyses),
        done=sum(row.done for row in analyses),
        failed=sum(row.failed for row in analyses),
    )


def _links() -> Select[Any]:
    same = and_(AnalysisRow.video_id == LinkRow.video_id, AnalysisRow.recipe_id == JobRow.recipe_id)
    own = (LinkRow.job_id, LinkRow.position, LinkRow.link, LinkRow.state, LinkRow.failure)
    more = (LinkRow.video_id, LinkRow.parent, LinkRow.listed)
    title = func.coalesce(LinkRow.list_title, VideoRow.title, "").label("title")
    sums = (AnalysisRow.segments, AnalysisRow.done, AnalysisRow.failed, AnalysisRow.funnel)
    return (
        select(*own, *more, title, *sums)
        .join(JobRow, JobRow.id == LinkRow.job_id)
        .outerjoin(VideoRow, VideoRow.id == LinkRow.video_id)
        .outerjoin(AnalysisRow, same)
    )


def _link(row: Row[Any]) -> LinkSummary:
    same = ("job_id", "position", "link", "state", "failure", "video_id", "title", "parent", "listed")
    values = {name: row._mapping[name] for name in same}
    counts = segment_counts([row]) if row.segments is not None else SegmentCounts()
    return LinkSummary(**values, segments=counts, funnel=funnel_of(row.funnel))
