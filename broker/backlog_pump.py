"""Wakes held segments when there is room before their device: a thread in each worker that holds some.

These are the workers of the first stage, and those that keep the books, where replays begin. They are in
every system, and without one a segment that was woken could not go on anyhow.
"""

import logging
import random
import threading
from typing import Any

from celery import bootsteps, signature
from kombu.exceptions import OperationalError

from broker.backlog import Backlog, bound_of
from broker.control import Control
from broker.errors import BrokerUnavailable
from broker.queue_lengths import waiting_in
from broker.queues import stages_of_queue
from broker.recipe import CHAIN
from broker.settings import Settings

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.5
"""Between two looks; each pause differs a little, so that many workers do not look at once."""
BATCH = 50
AWAY_SECONDS = 2.0
"""Pause while the broker is away."""
STOP_SECONDS = 2.0


class BacklogPump(bootsteps.StartStopStep):  # type: ignore[misc]
    """A step of the consumer: it starts with every (re)connect and stops with every loss of it."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def start(self, parent: Any) -> None:
        """Called with the consumer at every (re)connect."""
        if not any(map(_is_first, parent.app.amqp.queues.consume_from)):
            return
        self.stop(parent)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=pump_backlog,
            args=(parent.app, parent.app.hardpose_settings, self._stopped),
            name="backlog-pump",
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


def _is_first(queue: str) -> bool:
    """Whether segments come to ``queue`` first: to be examined, or, in a replay, from the books."""
    return not {CHAIN[0], CHAIN[-1]}.isdisjoint(stages_of_queue(queue) or ())


def pump_backlog(app: Any, settings: Settings, stopped: threading.Event) -> None:
    """Wakes what there is room for until ``stopped``; a broker that is away is waited for."""
    try:
        control = Control.of(settings)
    except BrokerUnavailable as error:
        log.error("this worker wakes no held segments: %s", error)
        return
    wait = 0.0
    while not stopped.wait(wait):
        wait = EVERY_SECONDS * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        try:
            wake_all(app, settings, control, stopped)
        except (BrokerUnavailable, OperationalError, OSError) as error:
            log.warning("held segments wait for the broker: %s", error)
            wait = AWAY_SECONDS
        except Exception:
            # Without this thread what is held would be held for ever.
            log.exception("a held segment could not be woken; it is tried again")
            wait = AWAY_SECONDS


def wake_all(app: Any, settings: Settings, control: Control, stopped: threading.Event | None = None) -> int:
    """Wakes what there is room for, ``BATCH`` at most of each device; returns how many.

    Raises:
        BrokerUnavailable, kombu's OperationalError, OSError: it is away; nothing is lost.
    """
    backlog, woken = Backlog(control), 0
    for queue in backlog.counts():
        bound = bound_of(settings, backlog.inline(queue))
        room = bound - waiting_in(app, settings, control, backlog.between(queue))
        for held in backlog.wake(queue, room, BATCH):
            if stopped is not None and stopped.is_set():
                return woken
            signature(held.message, app=app).apply_async()
            backlog.sent(queue, held)
            woken += 1
    return woken
