"""A thread in some workers that moves what waits outside the queues, while the worker takes messages."""

import logging
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from celery import bootsteps
from kombu.exceptions import OperationalError

from broker.control import Control
from broker.errors import BrokerUnavailable
from broker.settings import Settings

log = logging.getLogger(__name__)

IDLE_SECONDS = 2.0
"""Pause while nothing waits at all. Asking twice a second cost a worker without work as much as all the rest
that it does, and what comes to wait meanwhile has time."""
AWAY_SECONDS = 2.0
"""Pause while the broker is away."""
STOP_SECONDS = 2.0


class PumpStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """A step of the consumer: it starts with every (re)connect and stops with every loss of it.

    A worker that shuts down moves nothing more. What it leaves is moved by the other workers, or by the next
    one that starts.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    thread_name: ClassVar[str]

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def serves(self, queues: Sequence[str]) -> bool:
        """Whether a worker of ``queues`` has this thread."""
        raise NotImplementedError

    def pump(self, app: Any, settings: Settings, stopped: threading.Event) -> None:
        """What the thread does until ``stopped``; usually ``pump_until``."""
        raise NotImplementedError

    def start(self, parent: Any) -> None:
        """Called with the consumer at every (re)connect."""
        if not self.serves(list(parent.app.amqp.queues.consume_from)):
            return
        self.stop(parent)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self.pump,
            args=(parent.app, parent.app.hardpose_settings, self._stopped),
            name=self.thread_name,
            daemon=True,
        )
        self._thread.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Ends the thread; what it has taken and not sent is given out again in a short while."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
            self._thread = None

    terminate = shutdown = stop


def pump_until(
    stopped: threading.Event,
    settings: Settings,
    turn: Callable[[Control], bool | None],
    every: float,
    what: str,
) -> None:
    """Takes one turn after another until ``stopped``; a broker that is away is waited for.

    Args:
        stopped: ends it.
        settings: of the broker.
        turn: moves some; says whether more may be moved at once. None: nothing waits at all, and the next
            look may come later.
        every: seconds between two turns otherwise; each pause differs a little, so that many workers do not
            look at once.
        what: is moved, in words for the log.
    """
    try:
        control = Control.of(settings)
    except BrokerUnavailable as error:
        log.error("this worker moves no %s: %s", what, error)
        return
    wait = 0.0
    while not stopped.wait(wait):
        differs = random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        wait = every * differs
        try:
            more = turn(control)
            if more is None:
                wait = max(every, IDLE_SECONDS) * differs
            elif more:
                wait = 0.0
        except (BrokerUnavailable, OperationalError, OSError) as error:
            log.warning("%s wait for the broker: %s", what, error)
            wait = AWAY_SECONDS
        except Exception:
            # Without this thread what waits with the last worker would wait for ever.
            log.exception("%s could not be moved; it is tried again", what)
            wait = AWAY_SECONDS
