"""The books of reviews: decisions are added, never changed, and each frame carries what they come to."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select, update

from broker.catalog_rows import now, plain
from broker.cursors import check_limit, storable
from broker.database import Database
from broker.errors import HardposeError
from broker.frame_queries import is_frame, no_frame
from broker.frame_views import FrameId, Page, ReviewDecision, ReviewEvent
from broker.review_rows import event, events_of, standing, wait_in_line
from broker.tables import FrameRow, ReviewRow

LONGEST_NAME = 100
"""Characters of a reviewer's name."""


class ReviewConflict(HardposeError):
    """A decision of that id is booked with another content."""

    code = "review_conflict"


class BadReviewer(HardposeError):
    """Something that cannot be a reviewer's name."""

    code = "bad_reviewer"


class ReviewBooks:
    """What reviewers have decided. Reached as ``catalog.reviews``; raises as every method of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def decide(self, reviewer: str, decisions: Sequence[ReviewDecision]) -> list[ReviewEvent]:
        """Books decisions, all or none, in their order. One whose id is booked already counts once.

        Args:
            reviewer: who decides, 1 to 100 characters.
            decisions: each with an id of its own.

        Returns:
            Each decision as it is booked.

        Raises:
            ReviewConflict: if the id of one is booked with another reviewer, frame, decision or note.
            BadReviewer, BadFrameId
            NotFound: if there is no such frame.
        """
        if not 1 <= len(reviewer) <= LONGEST_NAME or not storable(reviewer):
            raise BadReviewer(
                f"{reviewer[:40]!r} is no reviewer's name.", f"Give one of 1 to {LONGEST_NAME} characters."
            )
        frames = [FrameId.parse(decision.frame_id) for decision in decisions]

        def work(connection: Connection) -> list[ReviewEvent]:
            wait_in_line(connection)
            booked = [
                _book(connection, reviewer, frame, decision)
                for frame, decision in zip(frames, decisions, strict=True)
            ]
            for frame in dict.fromkeys(frames):
                _stand(connection, frame)
            return booked

        return self._database.write(work)

    def of(self, frame_id: str) -> tuple[ReviewEvent, ...]:
        """All that was ever decided about a frame, the oldest first; nothing of one that is not there.

        Raises:
            BadFrameId: it is no frame's id.
        """
        frame = FrameId.parse(frame_id)
        if not storable(frame_id):
            return ()
        return self._database.read(lambda connection: events_of(connection, frame))

    def page(self, reviewer: str | None = None, after: int = 0, limit: int = 50) -> Page[ReviewEvent]:
        """Decisions by number, the oldest first.

        Args:
            reviewer: only hers or his.
            after: only those with a greater number. Who has seen all up to a number misses none by
                asking for those after it, however many book at once.
            limit: 1 to 500.

        Returns:
            The decisions; ``next`` is the number, as text, to go on after.

        Raises:
            ValueError: if ``limit`` is out of bounds.
        """
        check_limit(limit)
        mine = [] if reviewer is None else [ReviewRow.reviewer == reviewer]

        def work(connection: Connection) -> Page[ReviewEvent]:
            total = connection.scalar(select(func.count()).select_from(ReviewRow).where(*mine)) or 0
            asked = select(ReviewRow).where(*mine, ReviewRow.number > after).order_by(ReviewRow.number)
            rows = connection.execute(asked.limit(limit + 1)).all()
            more = str(rows[limit - 1].number) if len(rows) > limit else None
            return Page(items=tuple(event(row) for row in rows[:limit]), next=more, total=total)

        if after >= 2**31 or (reviewer is not None and not storable(reviewer)):
            return Page(items=(), total=0)
        return self._database.read(work)


def _book(connection: Connection, reviewer: str, frame: FrameId, decision: ReviewDecision) -> ReviewEvent:
    content: dict[str, str | int] = {
        "reviewer": reviewer,
        "decision": decision.decision.value,
        "note": plain(decision.note),
    }
    content |= {"video_id": frame.video_id, "recipe_id": frame.recipe_id, "time_ms": frame.time_ms}
    mine = select(ReviewRow).where(ReviewRow.id == decision.id)
    row = connection.execute(mine).first()
    if row is None:
        if not _there(connection, frame):
            raise no_frame(frame)
        connection.execute(insert(ReviewRow).values(content | {"id": decision.id, "at": now()}))
        row = connection.execute(mine).one()
    elif any(row._mapping[name] != value for name, value in content.items()):
        raise ReviewConflict(
            f"The decision {decision.id} is booked with another content.",
            "Make a new id for each decision; send the same id again only for the same decision.",
        )
    return event(row)


def _there(connection: Connection, frame: FrameId) -> bool:
    if not storable(str(frame)):
        return False
    # Locked: who removes the frame waits, and then sees the decision.
    return (
        connection.execute(select(FrameRow.segment).where(is_frame(frame)).with_for_update()).first()
        is not None
    )


def _stand(connection: Connection, frame: FrameId) -> None:
    stands = standing(events_of(connection, frame))
    connection.execute(update(FrameRow).where(is_frame(frame)).values(review=stands.value))
