"""The books of exports: what was ordered, by whom, and where its file is."""

import base64
import binascii
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from broker.catalog_rows import among_others, now
from broker.database import Database
from broker.errors import HardposeError, NotFound
from broker.exports import ExportSpec, ExportView
from broker.frame_views import BadCursor, Page
from broker.messages import Failure
from broker.tables import ExportRow, ForgottenRow, JobRow, LinkRow, VideoRow
from broker.views import State

VIDEOS_AT_ONCE = 500
"""Ids in one statement; SQLite takes 32,766 parameters at most."""


class VideoForgotten(HardposeError):
    """A video of an export was removed while the export was made."""

    code = "video_forgotten"


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
            limit: most of them.
            cursor: ``next`` of the page before.

        Raises:
            BadCursor: no page has given this cursor.
        """
        after = _read_cursor(cursor) if cursor else None

        def work(connection: Connection) -> Page[ExportView]:
            total = connection.execute(select(func.count()).select_from(ExportRow)).scalar_one()
            wanted = select(ExportRow.__table__).order_by(ExportRow.created_at.desc(), ExportRow.id.desc())
            if after:
                older = and_(ExportRow.created_at == after[0], ExportRow.id < after[1])
                wanted = wanted.where(or_(ExportRow.created_at < after[0], older))
            rows = connection.execute(wanted.limit(limit + 1)).all()
            more = len(rows) > limit
            views = tuple(_view(row) for row in rows[:limit])
            return Page(items=views, next=_cursor(views[-1]) if more and views else None, total=total)

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
    ) -> bool:
        """The file is in the store: the order is done.

        Every video of the export is locked and looked for in the same transaction, in which nothing is
        removed: of this and the removal of a video one comes first. Either the removal finds the export, or
        this misses the video.

        Args:
            export_id: the order.
            artifact: key of its zip file.
            size_bytes: of that file.
            sha256: of that file, hex.
            counts: as in ``ExportView.counts``.
            videos: ids of the videos of which it holds frames.

        Returns:
            False when the order was deleted, or has ended, meanwhile; then nothing is written.

        Raises:
            VideoForgotten: one of the videos was removed meanwhile; nothing is written.
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
            for start in range(0, len(videos), VIDEOS_AT_ONCE):
                some = videos[start : start + VIDEOS_AT_ONCE]
                wanted = select(LinkRow.job_id).join(JobRow, JobRow.id == LinkRow.job_id).distinct()
                wanted = wanted.where(LinkRow.video_id.in_(some), JobRow.recipe_id.in_(recipes))
                found.update(connection.execute(wanted).scalars())
            return sorted(found)

        return self._database.read(work)


def _row(connection: Connection, export_id: str) -> Any:
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
    for start in range(0, len(videos), VIDEOS_AT_ONCE):
        some = videos[start : start + VIDEOS_AT_ONCE]
        here = select(VideoRow.id).where(VideoRow.id.in_(some)).order_by(VideoRow.id)
        held = set(connection.execute(here.with_for_update(read=True)).scalars())
        away = select(ForgottenRow.video_id).where(ForgottenRow.video_id.in_(some))
        gone = (set(some) - held) | set(connection.execute(away).scalars())
        if gone:
            raise VideoForgotten(
                f"The export would hold frames of a video that was removed while it was made: {min(gone)}.",
                "Order it again: a new one is made without that video.",
            )


def _cursor(view: ExportView) -> str:
    return base64.urlsafe_b64encode(f"{view.created_at} {view.id}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[str, str]:
    try:
        time, _, name = base64.b64decode(cursor.encode(), b"-_", validate=True).decode().partition(" ")
    except (binascii.Error, UnicodeError):
        time = name = ""
    if not time or not name or "\0" in time + name:
        raise BadCursor(f"No page of exports has given the cursor {cursor[:100]!r}.", "Begin without one.")
    return time, name
