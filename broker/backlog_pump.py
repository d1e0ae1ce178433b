"""Wakes held segments when there is room before their device: a thread in each worker that holds some.

These are the workers of the first stage, and those that keep the books, where replays begin. They are in
every system, and without one a segment that was woken could not go on anyhow.
"""

import threading
from collections.abc import Sequence
from typing import Any

from celery import signature

from broker.backlog import Backlog, bound_of
from broker.control import Control
from broker.pump_step import PumpStep, pump_until
from broker.queue_lengths import waiting_in
from broker.queues import stages_of_queue
from broker.recipe import CHAIN
from broker.settings import Settings

EVERY_SECONDS = 0.5
"""Between two looks."""
BATCH = 50


class BacklogPump(PumpStep):
    """The thread of a worker to which segments come first."""

    thread_name = "backlog-pump"

    def serves(self, queues: Sequence[str]) -> bool:
        """Those of the first stage, and of the books."""
        return any(map(_is_first, queues))

    def pump(self, app: Any, settings: Settings, stopped: threading.Event) -> None:
        """Wakes what there is room for until ``stopped``."""

        def turn(control: Control) -> bool | None:
            if not Backlog(control).any():
                return None
            wake_all(app, settings, control, stopped)
            return False  # what is woken takes a while to make room

        pump_until(stopped, settings, turn, EVERY_SECONDS, "held segments")


def _is_first(queue: str) -> bool:
    """Whether segments come to ``queue`` first: to be examined, or, in a replay, from the books."""
    return not {CHAIN[0], CHAIN[-1]}.isdisjoint(stages_of_queue(queue) or ())


def wake_all(app: Any, settings: Settings, control: Control, stopped: threading.Event | None = None) -> int:
    """Wakes what there is room for, ``BATCH`` at most of each device; returns how many.

    Raises:
        BrokerUnavailable, kombu's OperationalError, OSError: it is away; nothing is lost.
    """
    backlog, woken = Backlog(control), 0
    for queue in backlog.counts():
        bound = bound_of(settings, backlog.inline(queue))
        room = bound - waiting_in(settings, control, backlog.between(queue))
        for held in backlog.wake(queue, room, BATCH):
            if stopped is not None and stopped.is_set():
                return woken
            signature(held.message, app=app).apply_async()
            backlog.sent(queue, held)
            woken += 1
    return woken
