"""The books of work: jobs, links, videos, segments, frames. Each method is one transaction, and repeatable.

What only reads is in ``broker.catalog_reading``, who fetches what in ``broker.catalog_claims``.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select, update

from broker import (
    analysis_counts,
    catalog_cancel,
    catalog_erase,
    catalog_held,
    catalog_jobs,
    catalog_retry,
    catalog_views,
)
from broker import catalog_rows as rows
from broker.catalog_cancel import CancelledWork
from broker.catalog_claims import Claims
from broker.catalog_counts import CountBooks
from broker.catalog_erase import EraseBooks
from broker.catalog_jobs import JobConflict as JobConflict
from broker.catalog_reading import CatalogReading
from broker.database import Database
from broker.device_books import DeviceBooks
from broker.export_books import ExportBooks
from broker.frame_books import FrameBooks
from broker.frame_views import FrameFacts
from broker.intake import Intake
from broker.job_books import JobBooks
from broker.messages import Failure, Segment, SegmentResult, Video
from broker.priority import Priority
from broker.recipe import Recipe
from broker.replay_books import ReplayBooks
from broker.review_books import ReviewBooks
from broker.side_books import SideBooks
from broker.tables import AnalysisRow, JobRow, LinkRow, SegmentRow
from broker.video_books import VideoBooks
from broker.views import LinkView, State

_ANY = Intake()
_NO_FACTS: Mapping[int, FrameFacts] = {}


class Catalog(CatalogReading, Claims):
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
        super().__init__(Database(url))
        self.erasing = EraseBooks(self._database)
        """What is deleted and forgotten."""
        self.frames = FrameBooks(self._database)
        self.reviews = ReviewBooks(self._database)
        self.work = JobBooks(self._database)
        self.videos = VideoBooks(self._database)
        self.devices = DeviceBooks(self._database)
        self.exports = ExportBooks(self._database)
        """What was ordered to be exported."""
        self.counts = CountBooks(self._database)
        self.replays = ReplayBooks(self._database)
        """What another device can be tried on."""
        self.sides = SideBooks(self._database)
        """What several devices have made of the same frames."""

    def migrate(self) -> None:
        """Makes or upgrades the tables. Any number of processes may call it at once.

        Raises:
            CatalogNewer: if a newer release of hardpose has written the catalog.
        """
        self._database.migrate()

    def dispose(self) -> None:
        """Closes this process's connections; the next use opens new ones."""
        self._database.dispose()

    def create_job(
        self,
        job_id: str,
        recipe: Recipe,
        links: Sequence[str],
        intake: Intake = _ANY,
        priority: Priority | None = None,
    ) -> None:
        """Makes a job, or takes an existing one up again, also one that was cancelled.

        Of an existing job: links that it does not have yet, given or brought by one of its lists, are
        added behind the others, those that failed or ended partial are queued again, the rest stays as
        it is. A list that was read is not read again, and a site that has said for good that there will
        be no video is not asked again: that takes ``retry``. A priority holds for what is sent from then
        on; None leaves it as it is, normal at first.

        Raises:
            JobConflict: if the job exists under another recipe or other intake rules.
        """
        self._database.write(
            lambda connection: catalog_jobs.create(connection, job_id, recipe, links, intake, priority)
        )

    def cancel_job(self, job_id: str) -> CancelledWork:
        """Ends what is open of a job, as failed with the code ``cancelled``; what is done stays done.

        Segments that an open link of another job waits for go on. In a job that has ended nothing changes.

        Raises:
            NotFound: if there is no such job.
        """
        return self._database.write(lambda connection: catalog_cancel.cancel(connection, job_id))

    def start_link(self, job_id: str, position: int) -> None:
        """A queued link is now worked on; any other state stays.

        Raises:
            NotFound: if there is no such link.
        """

        def work(connection: Connection) -> None:
            where = rows.link(connection, job_id, position)
            change = update(LinkRow).where(where, LinkRow.state == State.QUEUED)
            connection.execute(change.values(state=State.RUNNING.value, failure=None, updated_at=rows.now()))

        self._database.write(work)

    def put_back(self, job_id: str, position: int) -> None:
        """A link that is worked on waits again, for its turn or for another's fetch; others stay.

        Raises:
            NotFound: if there is no such link.
        """

        def work(connection: Connection) -> None:
            where = rows.link(connection, job_id, position)
            change = update(LinkRow).where(where, LinkRow.state == State.RUNNING)
            connection.execute(change.values(state=State.QUEUED.value, updated_at=rows.now()))

        self._database.write(work)

    def list_link(
        self, job_id: str, position: int, links: Sequence[str], title: str, complete: bool
    ) -> list[LinkView]:
        """The link has turned out to be a playlist or a channel: it is done, and what it names joins the job.

        A link that the job has already, given or from another list, is not added again: so a list that
        names itself, or another list that names it, ends. Only the first call adds anything.

        Args:
            job_id: the job.
            position: the list's place in it.
            links: of the list's videos, canonical, in the site's order.
            title: of the list, as the site states it.
            complete: whether the list holds no more than these.

        Returns:
            The links that this list has brought and that have not ended, by position, without segments.

        Raises:
            NotFound: if there is no such link.
            WorkCancelled: its job was cancelled meanwhile; nothing is booked.
        """

        def work(connection: Connection) -> list[LinkView]:
            rows.among_others(connection)
            rows.list_link(connection, job_id, position, links, title, complete)
            return catalog_views.open_children(connection, job_id, position)

        return self._database.write(work)

    def fail_link(self, job_id: str, position: int, failure: Failure) -> None:
        """The link could not become segments. One that is done stays done, one that was cancelled too.

        Raises:
            NotFound: if there is no such link.
        """

        def work(connection: Connection) -> None:
            where = rows.link(connection, job_id, position)
            if catalog_held.was_ended(connection, where):
                return
            change = update(LinkRow).where(where, LinkRow.state != State.DONE)
            record = failure.model_dump(mode="json")
            connection.execute(change.values(state=State.FAILED.value, failure=record, updated_at=rows.now()))

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
            video: what the link led to. A video that is known keeps its source. If the file is the
                same, all that was said of it stays, and only gaps (empty, or a licence ``unknown``) are
                filled; another file of the same id comes with what its site says now, gaps filled from
                before. So no fetch makes the provenance of a file poorer.
            segments: the whole plan of the video, under the job's recipe.

        Returns:
            The segments that are not done, each with its new ticket.

        Raises:
            NotFound: if there is no such link.
            WorkCancelled, VideoForgotten: it was ended meanwhile; nothing is booked.
            BeingErased: an earlier deletion of the video has not come to its end.
        """

        def work(connection: Connection) -> list[Segment]:
            rows.among_others(connection)
            where = rows.link(connection, job_id, position)
            catalog_held.refuse_ended(connection, where)
            catalog_erase.refuse_erased(connection, video)
            recipe_id = connection.execute(select(JobRow.recipe_id).where(JobRow.id == job_id)).scalar_one()
            rows.put_video(connection, video)
            rows.add(connection, AnalysisRow, video_id=video.id, recipe_id=recipe_id)
            rows.lock(connection, video.id, recipe_id)
            todo = rows.put_segments(connection, video.id, recipe_id, segments)
            link = {
                "video_id": video.id,
                "state": State.RUNNING.value,
                "failure": None,
                "listed": None,
                "updated_at": rows.now(),
            }
            connection.execute(update(LinkRow).where(where).values(link))
            rows.settle_links(connection, video.id, recipe_id)
            return todo

        return self._database.write(work)

    def settle_segment(self, result: SegmentResult, facts: Mapping[int, FrameFacts] = _NO_FACTS) -> bool:
        """Books a segment's frames, funnel, drops and times, and calls it done.

        A segment that is done stays as it is; one that had failed is done now.

        Args:
            result: what the last stage has made, every keeper decided.
            facts: what is told of its keepers beside, by ``time_ms``; none is booked for the others.

        Returns:
            Whether this ended the video's last open segment: True exactly once, however many
            processes settle at the same time.

        Raises:
            FunnelMismatch: if the frames do not add up; nothing is written.
            NotFound: if the segment was never planned.
        """
        values = rows.done(result)
        segment = result.segment

        def work(connection: Connection) -> bool:
            state, _ = rows.standing(connection, segment)
            if state == State.DONE:
                return False
            connection.execute(update(SegmentRow).where(rows.row_of(segment)).values(values))
            rows.put_frames(connection, segment, result.keepers, facts)
            analysis_counts.count_done(connection, segment.video.id, segment.recipe.id, state, values)
            last = rows.settle_links(connection, segment.video.id, segment.recipe.id)
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
            state, ticket = rows.standing(connection, segment)
            if state.final or (segment.ticket and segment.ticket != ticket):
                return False
            record = {"state": State.FAILED.value, "failure": failure.model_dump(mode="json")}
            record |= {"updated_at": (now := rows.now())}
            connection.execute(update(SegmentRow).where(rows.row_of(segment)).values(record))
            analysis_counts.count_failed(connection, segment.video.id, segment.recipe.id, now)
            return rows.settle_links(connection, segment.video.id, segment.recipe.id)

        return self._database.write(work)

    def retry(self, reasons: Sequence[str] = (), job_id: str | None = None) -> dict[str, list[int]]:
        """Queues again what failed for certain reasons.

        These are links that failed, or ended partial, if their own failure or that of one of their failed
        segments matches. ``plan_video`` then plans all failed segments of such a link anew, whatever
        their reasons; segments that are done stay done.

        Args:
            reasons: codes or actions of failures, such as ``http_429`` or ``session_poisoned``; none
                stands for any. One that nothing failed for queues nothing: see ``known_reasons``.
            job_id: only this job; None for all.

        Returns:
            The positions that were queued, in order, by job. Of two calls at once, each link is in one.

        Raises:
            NotFound: if there is no such job.
        """
        return self._database.write(
            lambda connection: catalog_retry.requeue(connection, set(reasons), job_id)
        )

    def known_reasons(self, job_id: str | None = None) -> dict[str, int]:
        """The codes and actions for which ``retry`` would queue a link now, and how many links each.

        Raises:
            NotFound: if there is no such job.
        """
        return self._database.read(lambda connection: catalog_retry.known_reasons(connection, job_id))
