"""What the books of work tell: whole jobs, single links, known videos."""

from broker import catalog_views
from broker.catalog_database import OnDatabase
from broker.messages import Video
from broker.views import JobView, LinkOrder, LinkView


class CatalogReading(OnDatabase):
    """The part of the catalog that changes nothing."""

    def known_video(self, video_id: str) -> Video | None:
        """A video that was fetched before, whether or not its file is still in the artifact store."""
        return self._database.read(lambda connection: catalog_views.video(connection, video_id))

    def link_order(self, job_id: str, position: int) -> LinkOrder:
        """One link with its job's recipe and rules; costs the same however many links the job has.

        Raises:
            NotFound: if there is no such link.
        """
        return self._database.read(lambda connection: catalog_views.link_order(connection, job_id, position))

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

    def open_children(self, job_id: str, position: int) -> list[LinkView]:
        """The links that a list has brought and that have not ended, as ``list_link`` returned them.

        For a list whose worker ended between booking it and sending its links.
        """
        return self._database.read(
            lambda connection: catalog_views.open_children(connection, job_id, position)
        )
