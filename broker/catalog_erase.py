"""Deleting jobs and forgetting videos: what goes from the books, and what is to go from the artifact store.

The books come first, in one transaction that also writes down every place in the store that has to be
emptied (``ErasureRow``). So a process that ends in between leaves nothing that nobody knows of:
``tasks.erasing.finish`` goes on with it.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, func, select

from broker import catalog_rows as rows
from broker.catalog_condemn import (
    Condemned,
    Target,
    drop_analyses,
    drop_exports,
    drop_videos,
    end_links,
    note_places,
    same_bytes,
)
from broker.database import Database
from broker.errors import BeingErased, JobRunning, NotFound, VideoForgotten
from broker.messages import Failure, Video
from broker.recipe import Frozen
from broker.tables import AnalysisRow, ErasureRow, ForgottenRow, JobRow, LinkRow, VideoRow
from broker.views import State


class Erasure(Frozen):
    """A place in the artifact store that is to be emptied."""

    number: int
    video_id: str
    place: str
    """A key, or a folder with ``/`` at its end."""


def refuse_forgotten(connection: Connection, names: Collection[str]) -> None:
    """Lets videos through that nobody has asked to forget.

    Raises:
        VideoForgotten: for the first of ``names`` that somebody has.
    """
    row = connection.execute(
        select(ForgottenRow.video_id, ForgottenRow.at).where(ForgottenRow.video_id.in_(names)).limit(1)
    ).first()
    if row is not None:
        raise forgotten(row.video_id, row.at)


def forgotten(video_id: str, at: str) -> VideoForgotten:
    """What is said of a video that was removed on request."""
    return VideoForgotten(
        f"The video {video_id} was removed on request on {at[:10]}, and is not taken in again.",
        f"If it may be used after all: hardpose forget --allow {video_id}",
    )


def refuse_erased(connection: Connection, video: Video) -> None:
    """Lets a video through that may be booked.

    Raises:
        VideoForgotten: it, or another video of the same bytes, was removed on request.
        BeingErased: what was made of it earlier is still being removed, and would go with it.
    """
    refuse_forgotten(connection, names_of(video.id, video.sha256))
    pending = (ErasureRow.video_id == video.id) | (ErasureRow.place == video.artifact)
    if connection.execute(select(ErasureRow.number).where(pending).limit(1)).first() is not None:
        raise BeingErased(
            f"What was made of {video.id} earlier is being removed just now.", "It is tried again by itself."
        )


def names_of(video_id: str, sha256: str) -> tuple[str, ...]:
    """The ids under which a video may have been forgotten: its own, and that of its bytes."""
    return (video_id, f"sha256:{sha256}") if sha256 else (video_id,)


class EraseBooks:
    """What is deleted and forgotten. Each method is one transaction and may be repeated.

    Every method may raise what ``broker.catalog.Catalog`` says of the database.

    Args:
        database: the catalog's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def delete_job(self, job_id: str) -> Condemned:
        """Takes a job out of the books, and whatever no other job refers to.

        Raises:
            NotFound: there is no such job.
            JobRunning: it has not ended.
        """
        return self._database.write(lambda connection: _delete_job(connection, job_id))

    def forget(self, video_ids: Collection[str], by: str, reason: str) -> Condemned:
        """Takes videos out of the books for good, with all others of the same bytes.

        Args:
            video_ids: known or not: one that is not known yet will not be taken in either.
            by: whose request it is booked under.
            reason: in that person's words.
        """
        return self._database.write(lambda connection: _forget(connection, video_ids, by, reason))

    def allow(self, video_ids: Collection[str]) -> list[str]:
        """Lets forgotten videos, and those that were forgotten with them, be taken in again; their ids.

        Raises:
            NotFound: none of them was forgotten.
        """

        def work(connection: Connection) -> list[str]:
            named = select(ForgottenRow.together).where(ForgottenRow.video_id.in_(video_ids))
            mine = ForgottenRow.together.in_(connection.scalars(named).all())
            found = sorted(connection.scalars(select(ForgottenRow.video_id).where(mine)))
            if not found:
                raise NotFound(
                    f"Not forgotten: {', '.join(sorted(video_ids))}.", "There is nothing to allow again."
                )
            connection.execute(delete(ForgottenRow).where(mine))
            return found

        return self._database.write(work)

    def check(self, *video_ids: str) -> None:
        """Lets videos through that nobody has asked to forget.

        Raises:
            VideoForgotten: somebody has.
        """
        self._database.read(lambda connection: refuse_forgotten(connection, video_ids))

    def find(self, names: Collection[str]) -> list[str]:
        """The ids, sorted, of the videos, also forgotten ones, that have one of ``names``.

        Args:
            names: ids, links as jobs have them, sources as videos have them.
        """

        def work(connection: Connection) -> list[str]:
            links = select(LinkRow.video_id).where(LinkRow.link.in_(names), LinkRow.video_id.is_not(None))
            videos = select(VideoRow.id).where(VideoRow.id.in_(names) | VideoRow.source.in_(names))
            gone = select(ForgottenRow.video_id).where(ForgottenRow.video_id.in_(names))
            return sorted(
                {str(found) for query in (links, videos, gone) for found in connection.scalars(query)}
            )

        return self._database.read(work)

    def failures(self, names: Collection[str]) -> list[str]:
        """The codes of the failures, empty of those without, of all links that read like one of ``names``."""
        links = select(LinkRow.failure).where(LinkRow.link.in_(names))
        return self._database.read(
            lambda connection: [(found or {}).get("code", "") for found in connection.scalars(links)]
        )

    def discard(self, artifact: str) -> None:
        """Condemns a source video that was stored and then not booked; one that is booked stays."""

        def work(connection: Connection) -> None:
            rows.alone(connection)
            if not same_bytes(connection, "", artifact):
                note_places(connection, [("", artifact)])

        self._database.write(work)

    def pending(self, limit: int = 1000) -> list[Erasure]:
        """Places that are still to be emptied, the oldest first."""
        wanted = select(ErasureRow.__table__).order_by(ErasureRow.number).limit(limit)
        return self._database.read(
            lambda connection: [Erasure(**row._mapping) for row in connection.execute(wanted)]
        )

    def emptied(self, numbers: Sequence[int]) -> None:
        """These places hold nothing any more."""
        gone = delete(ErasureRow).where(ErasureRow.number.in_(numbers))
        self._database.write(lambda connection: connection.execute(gone))


def _delete_job(connection: Connection, job_id: str) -> Condemned:
    rows.alone(connection)
    rows.lock_job(connection, job_id)
    recipe_id = connection.scalar(select(JobRow.recipe_id).where(JobRow.id == job_id))
    if recipe_id is None:
        raise NotFound(f"There is no job {job_id!r}.", "`hardpose status` lists the jobs that there are.")
    _refuse_open(connection, job_id)
    mine = LinkRow.job_id == job_id
    had = {found for found in connection.scalars(select(LinkRow.video_id).where(mine)) if found}
    connection.execute(delete(LinkRow).where(mine))
    connection.execute(delete(JobRow).where(JobRow.id == job_id))
    gone = [Target(video_id, recipe_id) for video_id in _unreferred(connection, recipe_id)]
    condemned = drop_analyses(connection, gone)
    videos = had | {target.video_id for target in gone}
    condemned += drop_exports(connection, {target.video_id for target in gone})
    condemned += drop_videos(connection, _unused(connection, sorted(videos)))
    note_places(connection, condemned.places)
    return condemned.of_jobs([job_id])


def _refuse_open(connection: Connection, job_id: str) -> None:
    open_links = (LinkRow.job_id == job_id, LinkRow.state.in_((State.QUEUED, State.RUNNING)))
    count = connection.scalar(select(func.count()).select_from(LinkRow).where(*open_links)) or 0
    if count:
        raise JobRunning(
            f"The job {job_id} has not ended: {count} of its links are open.",
            f"hardpose cancel {job_id} ends it; then delete it.",
        )


def _unreferred(connection: Connection, recipe_id: str) -> list[str]:
    """The videos that were analysed under a recipe for no job that still is there."""
    referred = select(LinkRow.video_id).join(JobRow, JobRow.id == LinkRow.job_id)
    referred = referred.where(JobRow.recipe_id == recipe_id, LinkRow.video_id.is_not(None))
    analysed = select(AnalysisRow.video_id).where(
        AnalysisRow.recipe_id == recipe_id, AnalysisRow.video_id.not_in(referred)
    )
    return sorted(connection.scalars(analysed))


def _unused(connection: Connection, video_ids: Sequence[str]) -> list[str]:
    """Those of the videos that no link and no analysis refers to."""
    used: set[str | None] = set()
    for some in rows.batched(video_ids):
        for column in (LinkRow.video_id, AnalysisRow.video_id):
            used.update(connection.scalars(select(column).where(column.in_(some)).distinct()))
    return [video_id for video_id in video_ids if video_id not in used]


def _forget(connection: Connection, video_ids: Collection[str], by: str, reason: str) -> Condemned:
    rows.alone(connection)
    ids, bytes_of = _closure(connection, video_ids)
    names = sorted({*video_ids, *ids, *bytes_of})
    at, first = rows.now(), min(video_ids)
    known = {"at": at, "by": by[:100], "reason": reason, "together": first}
    for video_id in names:
        rows.add(connection, ForgottenRow, video_id=video_id, **known)
    failure = Failure.of(forgotten(first, at))
    # Locked in the order in which a segment is settled: its analysis before the links.
    analyses = select(AnalysisRow.video_id, AnalysisRow.recipe_id).where(AnalysisRow.video_id.in_(names))
    analyses = analyses.order_by(AnalysisRow.video_id, AnalysisRow.recipe_id).with_for_update()
    # The rows of the videos first: an export that is being finished holds them, and is then found below.
    connection.execute(
        select(VideoRow.id).where(VideoRow.id.in_(ids)).order_by(VideoRow.id).with_for_update()
    )
    targets = [Target(*row) for row in connection.execute(analyses)]
    condemned = end_links(connection, names, failure)
    condemned += drop_analyses(connection, targets, every_recipe_of=names)
    condemned += drop_exports(connection, names)
    condemned += drop_videos(connection, ids)
    note_places(connection, condemned.places)
    return condemned


def _closure(connection: Connection, video_ids: Collection[str]) -> tuple[list[str], set[str]]:
    """The ids of all booked videos of the same bytes as any of ``video_ids``; and the ids of those bytes."""
    ids: set[str] = set()
    hashes = {name.removeprefix("sha256:") for name in video_ids if name.startswith("sha256:")}
    fresh = {found for digest in hashes for found in same_bytes(connection, digest, "")} | set(video_ids)
    while fresh:
        videos = select(VideoRow.json).where(VideoRow.id.in_(fresh))
        ids |= fresh
        for video in [Video.model_validate(record) for record in connection.scalars(videos)]:
            hashes |= {video.sha256} - {""}
            fresh = fresh | set(same_bytes(connection, video.sha256, video.artifact))
        fresh -= ids
    booked = connection.scalars(select(VideoRow.id).where(VideoRow.id.in_(ids)))
    return sorted(booked), {f"sha256:{digest}" for digest in hashes}
