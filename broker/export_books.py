"""The books of exports: what was ordered, by whom, and where its file is."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, tuple_, update

from broker.catalog_rows import among_others, batched, now
from broker.cursors import check_limit, pack, storable, typed
from broker.database import Database
from broker.errors import HardposeError, NotFound
from broker.exports import ExportSpec, ExportView
from broker.frame_views import Page
from broker.messages import Failure
from broker.tables import AnalysisRow, ExportRow, ForgottenRow, JobRow, LinkRow, VideoRow
from broker.views import State


class FramesRemoved(HardposeError):
    """Frames of an export were removed, with their video or their job, while the export was made."""

    code = "frames_removed"


class ExportBooks:
    """The orders for exports. Each method is one transaction and may be repeated.

    Every method may raise what ``broker.catalog.Catalog`` says of the database.

    Args:
        database: the catalog's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, spec: ExportSpec, requested_by: str) -> ExportView:
        """Books an order; it is ``queued``, and sent by ``tasks.exports.order.send_export``.

        Args:
            spec: what is wanted.
            requested_by: by whom: the name that belongs to a token, never the token.
        """
        time = now()
        row: dict[str, Any] = {
            "id": f"export-{secrets.token_hex(8)}",
            "created_at": time,
            "updated_at": time,
            "requested_by": requested_by[:100],
            "spec": spec.model_dump(mode="json"),
            "state": State.QUEUED.value,
        }
        self._database.write(lambda connection: connection.execute(insert(ExportRow).values(row)))
        return self.get(row["id"])

    def get(self, export_id: str) -> ExportView:
        """The order.

        Raises:
            NotFound: there is none of that id.
        """
        return self._database.read(lambda connection: _view(_row(connection, export_id)))

    def page(self, limit: int, cursor: str | None = None) -> Page[ExportView]:
        """Orders, the newest first.

        Args:
            limit: 1 to 500.
            cursor: ``next`` of the page before.

        Raises:
            BadCursor: no page of exports has given the cursor.
            ValueError: if ``limit`` is out of bounds.
        """
        check_limit(limit)
        key = typed(cursor, "exports", (str, str)) if cursor else []

        def work(connection: Connection) -> Page[ExportView]:
            total = connection.scalar(select(func.count()).select_from(ExportRow)) or 0
            behind = [tuple_(ExportRow.created_at, ExportRow.id) < tuple_(*key)] if key else []
            orders = select(ExportRow.__table__).where(*behind)
            orders = orders.order_by(ExportRow.created_at.desc(), ExportRow.id.desc())
            rows = connection.execute(orders.limit(limit + 1)).all()
            last = rows[limit - 1] if len(rows) > limit else None
            more = pack("exports", [last.created_at, last.id]) if last else None
            return Page(items=tuple(_view(row) for row in rows[:limit]), next=more, total=total)

        return self._database.read(work)

    def open(self) -> list[str]:
        """The ids of the orders that have not ended, the oldest first: after a loss they are sent anew."""
        wanted = select(ExportRow.id).where(ExportRow.state.in_((State.QUEUED, State.RUNNING)))
        ordered = wanted.order_by(ExportRow.created_at, ExportRow.id)
        return self._database.read(lambda connection: list(connection.execute(ordered).scalars()))

    def start(self, export_id: str) -> bool:
        """The order is now worked on.

        Returns:
            Whether there is anything to do: False for one that has ended or was deleted. One that is
            ``running`` is begun again, since its worker may have been killed.
        """

        def work(connection: Connection) -> bool:
            change = update(ExportRow).where(
                ExportRow.id == export_id, ExportRow.state.in_((State.QUEUED, State.RUNNING))
            )
            return _changed(connection, change.values(state=State.RUNNING.value, updated_at=now()))

        return self._database.write(work)

    def finish(
        self,
        export_id: str,
        artifact: str,
        size_bytes: int,
        sha256: str,
        counts: Mapping[str, int],
        videos: Sequence[str],
        analyses: Collection[tuple[str, str]] = (),
    ) -> bool:
        """The file is in the store: the order is done.

        Every video and analysis of the export is looked for in the same transaction, in which nothing is
        removed: of this and the removal of a video, or of a job, one comes first. Either the removal finds
        the export, or this misses what was removed.

        Args:
            export_id: the order.
            artifact: key of its zip file.
            size_bytes: of that file.
            sha256: of that file, hex.
            counts: as in ``ExportView.counts``.
            videos: ids of the videos of which it holds frames.
            analyses: video and recipe of all its frames.

        Returns:
            False when the order was deleted, or has ended, meanwhile; then nothing is written.

        Raises:
            FramesRemoved: one of the videos was removed meanwhile, or the job that had brought its frames;
                nothing is written.
        """
        done = {
            "state": State.DONE.value,
            "failure": None,
            "artifact": artifact,
            "size_bytes": size_bytes,
            "sha256": sha256,
            "counts": dict(counts),
            "videos": sorted(videos),
        }

        def work(connection: Connection) -> bool:
            among_others(connection)
            _check_videos(connection, sorted(videos))
            _check_analyses(connection, analyses)
            change = update(ExportRow).where(ExportRow.id == export_id, ExportRow.state == State.RUNNING)
            return _changed(connection, change.values(done | {"updated_at": now()}))

        return self._database.write(work)

    def fail(self, export_id: str, failure: Failure) -> None:
        """The order has failed; one that is done, or deleted, stays as it is."""
        record = {
            "state": State.FAILED.value,
            "failure": failure.model_dump(mode="json"),
            "updated_at": now(),
        }
        change = update(ExportRow).where(ExportRow.id == export_id, ExportRow.state != State.DONE)
        self._database.write(lambda connection: connection.execute(change.values(record)))

    def delete(self, export_id: str) -> ExportView:
        """Removes the order from the books; its file (``artifact``) is the caller's to remove.

        Returns:
            The order as it was.

        Raises:
            NotFound: there is none of that id.
        """

        def work(connection: Connection) -> ExportView:
            view = _view(_row(connection, export_id))
            connection.execute(delete(ExportRow).where(ExportRow.id == export_id))
            return view

        return self._database.write(work)

    def jobs_of(self, videos: Sequence[str], recipes: Sequence[str]) -> list[str]:
        """The ids, sorted, of the jobs that have any of ``videos`` under any of ``recipes``."""

        def work(connection: Connection) -> list[str]:
            found: set[str] = set()
            for some in batched(videos):
                wanted = select(LinkRow.job_id).join(JobRow, JobRow.id == LinkRow.job_id).distinct()
                wanted = wanted.where(LinkRow.video_id.in_(some), JobRow.recipe_id.in_(recipes))
                found.update(connection.execute(wanted).scalars())
            return sorted(found)

        return self._database.read(work)


def _row(connection: Connection, export_id: str) -> Any:
    row = None
    if storable(export_id):
        row = connection.execute(select(ExportRow.__table__).where(ExportRow.id == export_id)).first()
    if row is None:
        raise NotFound(f"There is no export {export_id[:100]!r}.", "GET /exports lists those that there are.")
    return row


def _view(row: Any) -> ExportView:
    failure = Failure.model_validate(row.failure) if row.failure is not None else None
    return ExportView(
        id=row.id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        requested_by=row.requested_by,
        spec=ExportSpec.model_validate(row.spec),
        state=State(row.state),
        failure=failure,
        artifact=row.artifact,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        counts=row.counts or {},
    )


def _changed(connection: Connection, change: Any) -> bool:
    return bool(connection.execute(change).rowcount)


def _check_videos(connection: Connection, videos: Sequence[str]) -> None:
    """Locks the videos' rows against removal, in one order, and misses those that were removed."""
    for some in batched(videos):
        here = select(VideoRow.id).where(VideoRow.id.in_(some)).order_by(VideoRow.id)
        held = set(connection.execute(here.with_for_update(read=True)).scalars())
        away = select(ForgottenRow.video_id).where(ForgottenRow.video_id.in_(some))
        gone = (set(some) - held) | set(connection.execute(away).scalars())
        if gone:
            raise _removed(f"a video that was removed while it was made: {min(gone)}")


def _check_analyses(connection: Connection, analyses: Collection[tuple[str, str]]) -> None:
    """Misses what was removed with its job, while the video stays for another one."""
    here: set[tuple[str, str]] = set()
    for some in batched(sorted({video_id for video_id, _ in analyses})):
        mine = select(AnalysisRow.video_id, AnalysisRow.recipe_id).where(AnalysisRow.video_id.in_(some))
        here.update((row.video_id, row.recipe_id) for row in connection.execute(mine))
    if gone := set(analyses) - here:
        raise _removed(f"{min(gone)[0]} of a job that was deleted while it was made")


def _removed(what: str) -> FramesRemoved:
    return FramesRemoved(
        f"The export would hold frames of {what}.", "Order it again: a new one is made without them."
    )
