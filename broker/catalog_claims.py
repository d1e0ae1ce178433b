"""Claims: one fetch at a time of one video. The statements behind ``Catalog.claim``.

All times are the database's own: workers' clocks may differ by more than a claim lasts.
"""

from typing import Any

from sqlalchemy import Connection, Float, and_, delete, extract, func, literal_column, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from broker.tables import ClaimRow


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
