"""Starts that do not come to an end: work that kills its process is stopped after a few of them."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from broker.control import Control
from broker.errors import BrokerUnavailable, HardposeError
from broker.messages import Segment

log = logging.getLogger(__name__)


class Poison(HardposeError):
    """A segment or a link has ended its worker process too often."""

    code = "poison"


class OutOfMemory(HardposeError):
    """The process ran out of memory over one piece of work, and lived."""

    code = "out_of_memory"


def attempt_of_link(job_id: str, position: int) -> str:
    """Name under which the starts of a link's download are counted."""
    return f"download:{job_id}:{position}"


def bot_checks_of_link(job_id: str, position: int) -> str:
    """Name under which it is counted how often a link has itself set off a breaker, since it was sent."""
    return f"bot-check:{job_id}:{position}"


def attempt_of_segment(segment: Segment, queue: str) -> str:
    """Name under which the starts of a segment are counted: one that is sent anew starts at nought."""
    return f"{segment.key}:{segment.ticket}:{queue}"


def _none(starts: int) -> int:  # noqa: ARG001 - as ``counted`` asks
    """No start is excused."""
    return 0


@contextmanager
def counted(
    control: Control, name: str, most: int, what: str, excused: Callable[[int], int] = _none
) -> Iterator[int]:
    """Counts this start until the work inside has come to an end, good or bad; gives the count.

    Args:
        control: where starts are counted: a process that is killed cannot count for itself.
        name: of this piece of work, the same when its message is delivered again.
        most: starts that are allowed.
        what: the work in words, for the error.
        excused: how many of the starts that it is told have ended for a reason that is known and dealt with;
            they are allowed besides.

    Raises:
        Poison: when earlier starts have ended their process too often.
        OutOfMemory: instead of MemoryError, which Celery takes for the end of the whole worker.
        BrokerUnavailable: when the count cannot be kept.
    """
    starts = control.begin(name)
    try:
        if starts > most + excused(starts):
            raise Poison(
                f"{what} has ended its worker process {starts - 1} times.",
                "Look at the worker's log and its memory limit; the other work is not touched.",
            )
        yield starts
    except MemoryError as error:
        raise OutOfMemory(
            f"{what} needs more memory than there is.",
            "Give the worker more memory, or lower HARDPOSE_MAX_FRAME_PIXELS.",
        ) from error
    finally:
        try:
            control.end(name)
        except BrokerUnavailable as error:
            log.warning("the end of %s is not counted: %s", name, error)
