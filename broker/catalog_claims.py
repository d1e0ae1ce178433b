"""Claims: one fetch at a time of one video. A part of ``broker.catalog.Catalog``.

All times are the database's own: workers' clocks may differ by more than a claim lasts.
"""

from typing import Any

from sqlalchemy import Connection, Float, and_, delete, extract, func, literal_column, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from broker.catalog_database import OnDatabase
from broker.tables import ClaimRow


class Claims(OnDatabase):
    """The part of the catalog that lets one process at a time fetch a video."""

    def claim(self, video_id: str, owner: str, seconds: float, family: str = "", silent: float = 0.0) -> bool:
        """Takes the right to fetch a video, or renews it.

        Args:
            video_id: the video; the catalog need not know it.
            owner: names the fetch; one that is repeated after a crash under the same name need not
                wait for its own claim to run out.
            seconds: from now, by the database's clock, so that workers' clocks need not agree.
            family: what the names of earlier fetches for the very same link begin with; none: none are.
            silent: seconds without renewal after which a claim of the family is void, less than
                ``seconds``: whoever stops a run and starts it again need not wait for it to run out.

        Returns:
            False while another owner's claim is good. Of any number that ask at once one gets it.
        """
        return self._database.write(
            lambda connection: claim(connection, video_id, owner, seconds, family, silent)
        )

    def release(self, video_id: str, owner: str) -> None:
        """Gives a claim back; one that is another's by now stays."""
        self._database.write(lambda connection: release(connection, video_id, owner))

    def claimed(self, video_id: str) -> str | None:
        """The owner of the claim on a video, None if it is free or has run out."""
        return self._database.read(lambda connection: claimed(connection, video_id))


def _clock(connection: Connection) -> Any:
    """Unix seconds, now."""
    if connection.dialect.name == "postgresql":
        # Not now(): that is when the transaction began, which may have waited for another's claim.
        return extract("epoch", func.clock_timestamp()).cast(Float(53))
    # Julian day of 1970-01-01 (SQLite manual, "Date And Time Functions"); good to a tenth of a millisecond.
    return literal_column("(julianday('now') - 2440587.5) * 86400.0", Float(53))


def claim(
    connection: Connection, video_id: str, owner: str, seconds: float, family: str = "", silent: float = 0.0
) -> bool:
    """Takes or renews the claim; False if another's is still good. See ``Catalog.claim``."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    clock = _clock(connection)
    take: Any = dialect.insert(ClaimRow).values(video_id=video_id, owner=owner, until=clock + seconds)
    new = {"owner": take.excluded.owner, "until": take.excluded.until}
    free = or_(ClaimRow.owner == take.excluded.owner, ClaimRow.until <= clock)
    if family:
        kin = func.substr(ClaimRow.owner, 1, len(family)) == family
        free = or_(free, and_(kin, ClaimRow.until <= clock + (seconds - silent)))
    connection.execute(take.on_conflict_do_update(index_elements=["video_id"], set_=new, where=free))
    # Asked, not counted: not every release of the drivers says how many rows an upsert wrote.
    holder = connection.scalar(select(ClaimRow.owner).where(ClaimRow.video_id == video_id))
    return bool(holder == owner)


def release(connection: Connection, video_id: str, owner: str) -> None:
    """Ends the claim, if it is the owner's."""
    connection.execute(delete(ClaimRow).where(ClaimRow.video_id == video_id, ClaimRow.owner == owner))


def claimed(connection: Connection, video_id: str) -> str | None:
    """The owner of the claim, if one is good."""
    good = select(ClaimRow.owner).where(ClaimRow.video_id == video_id, ClaimRow.until > _clock(connection))
    return connection.scalar(good)
