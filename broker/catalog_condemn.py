"""The statements that take analyses, videos and exports out of the books, and say what else must go."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    delete,
    func,
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
    condemned = Condemned()
    recipes = {
        row.id: Recipe.model_validate(row.json) for row in connection.execute(select(RecipeRow.__table__))
    }
    for video_id, recipe_id in targets:
        mine = {"video_id": video_id, "recipe_id": recipe_id}
        keys = connection.scalars(select(SegmentRow.index).filter_by(**mine)).all()
        counts = {
            "reviews": _drop(connection, ReviewRow, mine),
            "frames": _drop(connection, FrameRow, mine),
            "segments": _drop(connection, SegmentRow, mine),
        }
        _drop(connection, AnalysisRow, mine)
        free = (
            CHAIN
            if video_id in every_recipe_of
            else _own_stages(connection, video_id, recipes[recipe_id], recipes)
        )
        ticket = Voided(erased=tuple(free)).on(rows.ticket())
        condemned += Condemned(
            Erased(**counts),
            tuple((video_id, place) for place in _folders(video_id, recipes[recipe_id], free)),
            {segment_key(video_id, recipe_id, index): ticket for index in keys},
        )
    for video_id in every_recipe_of:
        places = [place for recipe in recipes.values() for place in _folders(video_id, recipe, CHAIN)]
        condemned += Condemned(places=tuple((video_id, place) for place in dict.fromkeys(places)))
    return condemned


def _drop(connection: Connection, table: Any, values: dict[str, str]) -> int:
    where = and_(*(getattr(table, name) == value for name, value in values.items()))
    count = connection.scalar(select(func.count()).select_from(table).where(where)) or 0
    connection.execute(delete(table).where(where))
    return count


def _own_stages(
    connection: Connection, video_id: str, recipe: Recipe, recipes: dict[str, Recipe]
) -> tuple[Stage, ...]:
    """The stages whose results no other recipe, under which the video is still booked, uses too."""
    others = connection.scalars(select(AnalysisRow.recipe_id).where(AnalysisRow.video_id == video_id))
    shared = {(stage, recipes[other].stage_id(stage)) for other in others for stage in CHAIN}
    return tuple(stage for stage in CHAIN if (stage, recipe.stage_id(stage)) not in shared)


def _folders(video_id: str, recipe: Recipe, stages: Sequence[Stage]) -> list[str]:
    return [
        f"{folder}/" for stage in stages for folder in stage_folders(stage, recipe.stage_id(stage), video_id)
    ]


def drop_exports(connection: Connection, video_ids: Collection[str]) -> Condemned:
    """Removes the exports that hold frames of these videos."""
    wanted = select(ExportRow.id, ExportRow.videos, ExportRow.artifact).order_by(ExportRow.created_at)
    found = [row for row in connection.execute(wanted) if not set(video_ids).isdisjoint(row.videos or ())]
    connection.execute(delete(ExportRow).where(ExportRow.id.in_([row.id for row in found])))
    return Condemned(
        Erased(exports=tuple(row.id for row in found)),
        tuple(("", row.artifact) for row in found if row.artifact),
    )


def drop_videos(connection: Connection, video_ids: Sequence[str]) -> Condemned:
    """Removes videos that nothing refers to any more; a source that another video shares stays."""
    mine = VideoRow.id.in_(video_ids)
    videos = [
        Video.model_validate(record) for record in connection.scalars(select(VideoRow.json).where(mine))
    ]
    connection.execute(delete(VideoRow).where(mine))
    condemned = Condemned(Erased(videos=len(videos)))
    for video in videos:
        others = same_bytes(connection, "", video.artifact)
        if others:
            kept = f"The source of {video.id}: {', '.join(others)} is the same file."
            condemned += Condemned(Erased(kept=(kept,)))
        else:
            condemned += Condemned(places=((video.id, video.artifact),))
    return condemned


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
