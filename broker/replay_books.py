"""Replays in the books: what another device can be tried on, and the job that does it.

A replay's recipe is an earlier one with another device. Its job has the links of the earlier jobs, each with
its video known from the start: nothing is fetched.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, and_, bindparam, or_, select, update

from broker import catalog_jobs
from broker import catalog_rows as rows
from broker.cursors import storable
from broker.database import Database
from broker.errors import NotFound
from broker.intake import Intake
from broker.messages import Failure
from broker.priority import Priority
from broker.recipe import Frozen, Recipe
from broker.tables import AnalysisRow, JobRow, LinkRow, RecipeRow, SegmentRow
from broker.views import State

Span = tuple[int, int]
"""Of a segment: ``start_ms`` and ``end_ms``."""


class ReplayBase(Frozen):
    """An earlier recipe, and what it has examined."""

    recipe: Recipe
    links: dict[str, str]
    """Of each video the link that it was first asked for by."""


class Place(Frozen):
    """A link of a replay's job."""

    position: int
    state: State


class Earlier(Frozen):
    """What became of a segment under an earlier recipe."""

    state: State
    failure: Failure | None = None


class ReplayBooks:
    """Reached as ``catalog.replays``; raises as every method of it.

    Args:
        database: the catalog's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def bases(self, named: Sequence[str] = ()) -> list[ReplayBase]:
        """The recipes of all analyses, or of those that are named, by the age of their first job.

        Args:
            named: ids of jobs (their videos under their recipes) and of recipes (all their videos).

        Raises:
            NotFound: one of ``named`` is neither.
        """
        return self._database.read(lambda connection: _bases(connection, named))

    def book(
        self, job_id: str, recipe: Recipe, links: Mapping[str, str], priority: Priority
    ) -> dict[str, Place]:
        """Makes a replay's job, or takes it up again as ``Catalog.create_job`` does.

        Args:
            job_id: of the replay.
            recipe: with the new device.
            links: of each video its link; those that the job does not have yet are added to it.
            priority: of its messages from now on.

        Returns:
            Each video's place in the job.

        Raises:
            JobConflict: the job exists under another recipe.
        """
        return self._database.write(lambda connection: _book(connection, job_id, recipe, links, priority))

    def earlier(self, video_id: str, recipe_ids: Sequence[str]) -> dict[Span, Earlier]:
        """What became of a video's segments under earlier recipes; of several the furthest it came to."""
        return self._database.read(lambda connection: _earlier(connection, video_id, recipe_ids))


def _bases(connection: Connection, named: Sequence[str]) -> list[ReplayBase]:
    same = and_(AnalysisRow.video_id == LinkRow.video_id, AnalysisRow.recipe_id == JobRow.recipe_id)
    found = select(JobRow.recipe_id, LinkRow.video_id, LinkRow.link)
    found = found.join(JobRow, JobRow.id == LinkRow.job_id).join(AnalysisRow, same)
    if named:
        found = found.where(or_(*(_of(connection, name) for name in dict.fromkeys(named))))
    links: dict[str, dict[str, str]] = defaultdict(dict)
    order = (JobRow.created_at, JobRow.id, LinkRow.position)
    for recipe_id, video_id, link in connection.execute(found.order_by(*order)):
        links[recipe_id].setdefault(str(video_id), link)
    # Not by a list of ids: a statement takes only so many, and there are few recipes.
    recipes = {row.id: row.json for row in connection.execute(select(RecipeRow.id, RecipeRow.json))}
    return [
        ReplayBase(recipe=Recipe.model_validate(recipes[recipe_id]), links=videos)
        for recipe_id, videos in links.items()
    ]


def _of(connection: Connection, name: str) -> ColumnElement[bool]:
    if storable(name):
        for table, field in ((JobRow, LinkRow.job_id), (RecipeRow, JobRow.recipe_id)):
            if connection.scalar(select(table.id).where(table.id == name)) is not None:
                return field == name
    raise NotFound(
        f"There is neither a job nor a recipe {name!r}.",
        "`hardpose status` lists the jobs; their recipes are in `hardpose status JOB --json`.",
    )


def _book(
    connection: Connection, job_id: str, recipe: Recipe, links: Mapping[str, str], priority: Priority
) -> dict[str, Place]:
    catalog_jobs.create(connection, job_id, recipe, (), Intake(), priority)  # holds the job from here on
    mine = select(LinkRow.video_id, LinkRow.position, LinkRow.state, LinkRow.link)
    mine = mine.where(LinkRow.job_id == job_id)
    there = connection.execute(mine).all()
    new = {video_id: link for video_id, link in links.items() if video_id not in {row[0] for row in there}}
    rows.append_links(connection, job_id, [*(row.link for row in there), *new.values()])
    _name_videos(connection, job_id, new)
    return {
        row.video_id: Place(position=row.position, state=State(row.state))
        for row in connection.execute(mine)
        if row.video_id in links
    }


def _name_videos(connection: Connection, job_id: str, new: Mapping[str, str]) -> None:
    """Writes the video to each link that was just added; of links of one text any will do."""
    bare = select(LinkRow.position, LinkRow.link).where(LinkRow.job_id == job_id, LinkRow.video_id.is_(None))
    free: dict[str, list[int]] = defaultdict(list)
    for position, link in connection.execute(bare.order_by(LinkRow.position.desc())):
        free[link].append(position)
    named = [{"at_position": free[link].pop(), "of_video": video_id} for video_id, link in new.items()]
    if named:
        to = update(LinkRow).where(LinkRow.job_id == job_id, LinkRow.position == bindparam("at_position"))
        connection.execute(to.values(video_id=bindparam("of_video"), updated_at=rows.now()), named)


def _earlier(connection: Connection, video_id: str, recipe_ids: Sequence[str]) -> dict[Span, Earlier]:
    segments = select(SegmentRow.start_ms, SegmentRow.end_ms, SegmentRow.state, SegmentRow.failure).where(
        SegmentRow.video_id == video_id, SegmentRow.recipe_id.in_(recipe_ids)
    )
    found: dict[Span, Earlier] = {}
    for row in connection.execute(segments):
        now = Earlier(state=State(row.state), failure=row.failure)
        known = found.get((row.start_ms, row.end_ms))
        if known is None or _RANK[now.state] > _RANK[known.state]:
            found[row.start_ms, row.end_ms] = now
    return found


_RANK = {State.QUEUED: 0, State.FAILED: 1, State.PARTIAL: 1, State.RUNNING: 2, State.DONE: 3}
"""The furthest of several: a segment that is still on its way may yet leave its masks."""
