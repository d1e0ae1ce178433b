"""Links that were ended while a worker had them in its hands: what it brings is not booked."""

from sqlalchemy import ColumnElement, Connection, select

from broker.errors import VideoForgotten, WorkCancelled
from broker.tables import LinkRow
from broker.views import State

_ENDINGS = {error.code: error for error in (WorkCancelled, VideoForgotten)}


def refuse_ended(connection: Connection, link: ColumnElement[bool]) -> None:
    """Lets a link through that nobody has ended from outside.

    Args:
        connection: in a transaction.
        link: where it is.

    Raises:
        WorkCancelled, VideoForgotten: as whoever ended it has written down.
    """
    row = connection.execute(select(LinkRow.state, LinkRow.failure).where(link)).one()
    failure = row.failure or {}
    if State(row.state).final and (error := _ENDINGS.get(failure.get("code", ""))) is not None:
        raise error(failure["cause"], failure["remedy"])


def was_ended(connection: Connection, link: ColumnElement[bool]) -> bool:
    """Whether somebody has ended the link from outside."""
    try:
        refuse_ended(connection, link)
    except (WorkCancelled, VideoForgotten):
        return True
    return False
