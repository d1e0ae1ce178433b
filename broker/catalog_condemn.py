"""The statements that take analyses, videos and exports out of the books, and say what else must go."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    delete,
    insert,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)

from broker import catalog_rows as rows
from broker.messages import Failure, Video, segment_key, stage_folders
from broker.recipe import CHAIN, Recipe, Stage
from broker.tables import (
    AnalysisRow,
    ClaimRow,
    ErasureRow,
    ExportRow,
    FrameRow,
    LinkRow,
    RecipeRow,
    ReviewRow,
    SegmentRow,
    VideoRow,
)
from broker.views import State
from broker.voiding import Voided
from broker.work_views import Erased

YOUTUBE = "youtube:"
WATCH = "https://www.youtube.com/watch?v="
"""How links of YouTube's videos are booked (``workers.downloads.sites.canonical``)."""


class Target(NamedTuple):
    """An analysis."""

    video_id: str
    recipe_id: str


@dataclass(frozen=True)
class Condemned:
    """What a deletion has taken out of the books, and what must go elsewhere.

    Attributes:
        counts: of ``Erased``, all that is counted in the books.
        places: in the artifact store, each with the video that it was made of: keys, or folders with ``/``.
        tickets: for the segments, by ``Segment.key``: their messages are void, and what a worker makes of
            them meanwhile is to be removed.
        links: jobs and positions whose transfers are to be ended.
    """

    counts: Erased = field(default_factory=Erased)
    places: tuple[tuple[str, str], ...] = ()
    tickets: dict[str, str] = field(default_factory=dict)
    links: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: "Condemned") -> "Condemned":
        ours, theirs = self.counts, other.counts
        sums = {name: getattr(ours, name) + getattr(theirs, name) for name in Erased.model_fields}
        sums["jobs"] = tuple(dict.fromkeys(sums["jobs"]))
        return Condemned(
            Erased(**sums),
            self.places + other.places,
            self.tickets | other.tickets,
            self.links + other.links,
        )

    def of_jobs(self, job_ids: Iterable[str]) -> "Condemned":
        """The same, and that these jobs have lost something."""
        return self + Condemned(Erased(jobs=tuple(job_ids)))


def note_places(connection: Connection, places: Iterable[tuple[str, str]]) -> None:
    """Writes down what is to go from the artifact store."""
    values = [{"video_id": video_id, "place": place} for video_id, place in dict.fromkeys(places)]
    if values:
        connection.execute(insert(ErasureRow), values)


def same_bytes(connection: Connection, sha256: str, artifact: str) -> list[str]:
    """The ids of the booked videos of these bytes, by their hash or by where they are stored."""
    text = type_coerce(VideoRow.json, Text)
    wanted: list[ColumnElement[bool]] = []
    for name, value in (("sha256", sha256), ("artifact", artifact)):
        if value:
            wanted.append(text.contains(f'"{name}":{json.dumps(value)}', autoescape=True))
    return sorted(connection.scalars(select(VideoRow.id).where(or_(*wanted)))) if wanted else []


def drop_analyses(
    connection: Connection, targets: Sequence[Target], every_recipe_of: Collection[str] = ()
) -> Condemned:
    """Removes analyses with their segments, frames and reviews; what other recipes share stays in the store.

    Args:
        connection: alone (``catalog_rows.alone``).
        targets: the analyses.
        every_recipe_of: videos of which whatever any recipe may have left in the store goes.
    """
    recipes = {
        row.id: Recipe.model_validate(row.json) for row in connection.execute(select(RecipeRow.__table__))
    }
    condemned = Condemned()
    for recipe_id in sorted({target.recipe_id for target in targets}):
        videos = [target.video_id for target in targets if target.recipe_id == recipe_id]
        for some in rows.batched(videos):
            condemned += _drop_some(connection, some, recipes[recipe_id], recipes, every_recipe_of)
    places = [
        (video_id, place)
        for video_id in every_recipe_of
        for recipe in recipes.values()
        for place in _folders(video_id, recipe, CHAIN)
    ]
    return condemned + Condemned(places=tuple(dict.fromkeys(places)))


def _drop_some(
    connection: Connection,
    videos: Sequence[str],
    recipe: Recipe,
    recipes: dict[str, Recipe],
    every_recipe_of: Collection[str],
) -> Condemned:
    """Removes the analyses of some videos under one recipe, by a handful of statements."""
    of_them = and_(SegmentRow.video_id.in_(videos), SegmentRow.recipe_id == recipe.id)
    keys = connection.execute(select(SegmentRow.video_id, SegmentRow.index.label("at")).where(of_them)).all()
    counts = {
        name: _drop(connection, table, videos, recipe.id)
        for name, table in (("reviews", ReviewRow), ("frames", FrameRow), ("segments", SegmentRow))
    }
    _drop(connection, AnalysisRow, videos, recipe.id)
    free = _own_stages(connection, videos, recipe, recipes) | dict.fromkeys(every_recipe_of, CHAIN)
    ticket = rows.ticket()  # one will do: it is newer than all that were sent
    return Condemned(
        Erased(**counts),
        tuple((name, place) for name in videos for place in _folders(name, recipe, free[name])),
        {
            segment_key(key.video_id, recipe.id, key.at): Voided(erased=free[key.video_id]).on(ticket)
            for key in keys
        },
    )


def _drop(connection: Connection, table: Any, videos: Sequence[str], recipe_id: str) -> int:
    where = and_(table.video_id.in_(videos), table.recipe_id == recipe_id)
    return connection.execute(delete(table).where(where)).rowcount


def _own_stages(
    connection: Connection, videos: Sequence[str], recipe: Recipe, recipes: dict[str, Recipe]
) -> dict[str, tuple[Stage, ...]]:
    """By video, the stages whose results no other recipe, under which it is still booked, uses too."""
    shared: dict[str, set[Stage]] = defaultdict(set)
    others = select(AnalysisRow.video_id, AnalysisRow.recipe_id).where(AnalysisRow.video_id.in_(videos))
    for video_id, other in connection.execute(others):
        shared[video_id] |= {s for s in CHAIN if recipes[other].stage_id(s) == recipe.stage_id(s)}
    return {name: tuple(stage for stage in CHAIN if stage not in shared[name]) for name in videos}


def _folders(video_id: str, recipe: Recipe, stages: Sequence[Stage]) -> list[str]:
    return [
        f"{folder}/" for stage in stages for folder in stage_folders(stage, recipe.stage_id(stage), video_id)
    ]


def drop_exports(connection: Connection, video_ids: Collection[str]) -> Condemned:
    """Removes the exports that hold frames of these videos."""
    gone = set(video_ids)
    wanted = select(ExportRow.id, ExportRow.videos, ExportRow.artifact).order_by(ExportRow.created_at)
    found = [row for row in connection.execute(wanted) if not gone.isdisjoint(row.videos or ())]
    for some in rows.batched([row.id for row in found]):
        connection.execute(delete(ExportRow).where(ExportRow.id.in_(some)))
    return Condemned(
        Erased(exports=tuple(row.id for row in found)),
        tuple(("", row.artifact) for row in found if row.artifact),
    )


def drop_videos(connection: Connection, video_ids: Sequence[str]) -> Condemned:
    """Removes videos that nothing refers to any more; a source that another video shares stays."""
    videos: list[Video] = []
    for some in rows.batched(video_ids):
        mine = VideoRow.id.in_(some)
        videos += map(Video.model_validate, connection.scalars(select(VideoRow.json).where(mine)))
        connection.execute(delete(VideoRow).where(mine))
    others = _holders(connection, {video.artifact for video in videos})
    kept = tuple(
        f"The source of {video.id}: {', '.join(others[video.artifact])} is the same file."
        for video in videos
        if video.artifact in others
    )
    places = tuple((video.id, video.artifact) for video in videos if video.artifact not in others)
    return Condemned(Erased(videos=len(videos), kept=kept), places)


def _holders(connection: Connection, artifacts: Collection[str]) -> dict[str, list[str]]:
    """The ids of the booked videos that are stored at any of ``artifacts``, by artifact.

    Reads all videos once: to look for the file of each among all of them would take a minute for 10,000.
    """
    found: dict[str, list[str]] = defaultdict(list)
    every = select(VideoRow.id, VideoRow.json).order_by(VideoRow.id).execution_options(yield_per=1000)
    for video_id, record in connection.execute(every) if artifacts else ():
        if record["artifact"] in artifacts:
            found[record["artifact"]].append(video_id)
    return found


def end_links(connection: Connection, video_ids: Collection[str], failure: Failure) -> Condemned:
    """Fails the links that have led, or would lead, to videos, and forgets who was fetching them."""
    claims = ClaimRow.video_id.in_(video_ids)
    owners = [
        str(owner).rsplit(":", 2)[:2] for owner in connection.scalars(select(ClaimRow.owner).where(claims))
    ]
    fetching = [(job_id, int(position)) for job_id, position in owners if position.isdecimal()]
    connection.execute(delete(ClaimRow).where(claims))
    sources = connection.scalars(select(VideoRow.source).where(VideoRow.id.in_(video_ids))).all()
    pages = [WATCH + name.removeprefix(YOUTUBE) for name in video_ids if name.startswith(YOUTUBE)]
    led = or_(
        LinkRow.video_id.in_(video_ids),
        and_(LinkRow.link.in_([*sources, *pages]), LinkRow.video_id.is_(None), LinkRow.listed.is_(None)),
        tuple_(LinkRow.job_id, LinkRow.position).in_(fetching),
    )
    found = connection.execute(select(LinkRow.job_id, LinkRow.position).where(led)).all()
    record = failure.model_dump(mode="json")
    ended = {"state": State.FAILED.value, "failure": record, "video_id": None, "updated_at": rows.now()}
    connection.execute(update(LinkRow).where(led).values(ended))
    links = tuple((row.job_id, row.position) for row in found)
    return Condemned(Erased(jobs=tuple(sorted({job_id for job_id, _ in links}))), links=links)
