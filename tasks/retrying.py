"""How a Celery task is run again: a little later, and never lost on the way."""

import logging
import time
from typing import Any, cast

from celery import Task
from celery.app.trace import LOG_REJECTED
from celery.exceptions import Reject

from broker.errors import BrokerUnavailable, HardposeError
from tasks.counting import run_again

log = logging.getLogger(__name__)

RETRIES = 3
RETRY_SECONDS = 2
"""First pause before a retry; doubled each time."""
AWAY_SECONDS, MOST_AWAY_SECONDS = 5.0, 15.0
"""Pause of a worker whose device does not answer, before the segment is given back: first, and after a while.
A unit that does answer waits no longer for a segment."""
BOOKS_RETRY_SECONDS = 30
"""Pause while the catalog is away: a failure that is not written down would leave its job open for ever."""


def again(task: Task, error: HardposeError) -> BaseException:
    """What to raise so that the task is run again a little later; each pause is twice the one before.

    Without the broker a retry could not be sent and would be lost; a refused message goes back by itself.
    """
    if isinstance(error, BrokerUnavailable):
        run_again(error)
        time.sleep(RETRY_SECONDS)
        return cast(BaseException, Reject(str(error), requeue=True))
    return retry_later(task, error, pause_of(task))


class AwayPause:
    """Grows while the device stays away, or the worker unfit.

    Args:
        first: seconds.
        most: seconds; each pause is twice the one before, up to this.
        forgotten: seconds after which the next is the first one again.
    """

    def __init__(
        self,
        first: float = AWAY_SECONDS,
        most: float = MOST_AWAY_SECONDS,
        forgotten: float = MOST_AWAY_SECONDS,
    ) -> None:
        self._first, self._most, self._forgotten = first, most, forgotten
        self._last = self._ended = 0.0

    def pause(self, now: float) -> float:
        """Seconds, from ``now`` on (``time.monotonic``)."""
        still = self._last and now - self._ended < self._forgotten
        self._last = min(2 * self._last, self._most) if still else self._first
        self._ended = now + self._last
        return self._last

    def ended(self) -> None:
        """What it was for is over."""
        self._last = 0.0


def put_back(error: Exception, pause: AwayPause | None = None, why: str = "") -> BaseException:
    """What to raise so that the segment waits for its device, or a fit worker, at the front of its queue.

    It is neither a failure nor a try of the segment: another unit may take it, or this one when its device
    answers again, a day later. The pause keeps a worker whose device is away from going round.

    Args:
        error: that this worker has met.
        pause: before it is given back; None: that of the device.
        why: for Celery's log, in place of the error's words.
    """
    run_again(error)
    time.sleep((pause or _away).pause(time.monotonic()))
    return cast(BaseException, Reject(why or str(error), requeue=True))


_away = AwayPause()


def told_in_a_line(record: logging.LogRecord) -> bool:
    """A filter of Celery's log: a message that goes back, again and again for days, needs no traceback."""
    if record.msg == LOG_REJECTED.strip():
        record.exc_info = record.exc_text = None
    return True


def pause_of(task: Task) -> float:
    """Seconds until the next try of ``task``."""
    return float(RETRY_SECONDS * 2**task.request.retries)


def retry_later(task: Task, error: HardposeError, pause: float, **options: Any) -> BaseException:
    """Celery's retry; where it could not be sent, Celery would drop the message, and we have it back."""
    run_again(error)
    try:
        return cast(BaseException, task.retry(exc=error, countdown=pause, throw=False, **options))
    except Reject as unsent:
        log.warning("a retry could not be sent, the message goes back: %s", unsent.reason)
        time.sleep(RETRY_SECONDS)
        return cast(BaseException, Reject(unsent.reason, requeue=True))
