"""The statements behind ``broker.review_books``."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, func, select, text

from broker.catalog_rows import among_others
from broker.frame_views import Decision, FrameId, Review, ReviewEvent
from broker.tables import ReviewRow

REVIEW_LOCK = 4_803_170_643
"""PostgreSQL advisory lock held while decisions are booked: any number that no other lock of ours has."""


def wait_in_line(connection: Connection) -> None:
    """Lets one transaction at a time book decisions (on SQLite they already wait).

    So their numbers become visible in their order, and who reads on behind the newest he has seen misses
    none; and two who decide about one frame see each other. Nobody removes frames meanwhile, and work is
    planned all the same.
    """
    among_others(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(text(str(REVIEW_LOCK)))))


def events_of(connection: Connection, frame: FrameId) -> tuple[ReviewEvent, ...]:
    """All decisions about a frame, the oldest first."""
    mine = select(ReviewRow).where(
        ReviewRow.video_id == frame.video_id,
        ReviewRow.recipe_id == frame.recipe_id,
        ReviewRow.time_ms == frame.time_ms,
    )
    return tuple(event(row) for row in connection.execute(mine.order_by(ReviewRow.number)))


def event(row: Row[Any]) -> ReviewEvent:
    """The row as it travels."""
    return ReviewEvent(
        number=row.number,
        id=row.id,
        frame_id=f"{row.video_id}.{row.recipe_id}.{row.time_ms}",
        reviewer=row.reviewer,
        decision=row.decision,
        note=row.note,
        at=row.at,
    )


def standing(events: Iterable[ReviewEvent]) -> Review:
    """What the decisions about one frame, the oldest first, come to: each reviewer's newest counts."""
    newest = {each.reviewer: each.decision for each in events}
    said = set(newest.values()) - {Decision.WITHDRAW}
    if len(said) == 2:
        return Review.DISPUTED
    return Review.OPEN if not said else Review.KEPT if Decision.KEEP in said else Review.REJECTED
