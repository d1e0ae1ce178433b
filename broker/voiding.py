"""Tickets that void a segment's messages, and say to the worker that has one in its hands what to do."""

from typing import Self

from broker.recipe import CHAIN, Frozen, Stage

_MARK = ":void"
"""Behind the ticket proper, so that tickets still compare by their time."""


class Voided(Frozen):
    """Why the messages of a segment are void."""

    erased: tuple[Stage, ...] = ()
    """Whatever these stages have made of the segment since is to be removed; none for a cancelled job."""

    def on(self, ticket: str) -> str:
        """``ticket`` with this said behind it."""
        return ":".join((ticket + _MARK, *self.erased))

    @classmethod
    def parse(cls, ticket: str) -> Self | None:
        """What is said behind a ticket; None of one that a newer sending of the segment has set."""
        _, found, stages = ticket.partition(_MARK)
        return cls(erased=tuple(stage for stage in CHAIN if stage in stages.split(":"))) if found else None


CANCELLED = Voided()
