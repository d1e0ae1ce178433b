"""Sends parked messages when their time has come: one thread in each worker that fetches."""

import threading
from collections.abc import Sequence
from typing import Any

from broker.parking import ParkedLink, Parking
from broker.pump_step import PumpStep, pump_until
from broker.settings import Settings

QUEUE = "download"
"""The queue of the parked messages, and of the workers that send them."""
TASK = "hardpose.download"
EVERY_SECONDS = 0.4
"""Between two looks."""
BATCH = 50


class ParkingPump(PumpStep):
    """The thread of a worker that fetches."""

    thread_name = "parking-pump"

    def serves(self, queues: Sequence[str]) -> bool:
        """Those of the download queue."""
        return QUEUE in queues

    def pump(self, app: Any, settings: Settings, stopped: threading.Event) -> None:
        """See the function of that name."""
        pump(app, settings, stopped)


def pump(app: Any, settings: Settings, stopped: threading.Event) -> None:
    """Sends what is due until ``stopped``; a broker that is away is waited for."""
    pump_until(
        stopped,
        settings,
        lambda control: _turn(app, Parking(control), stopped),
        EVERY_SECONDS,
        "parked messages",
    )


def _turn(app: Any, parking: Parking, stopped: threading.Event) -> bool | None:
    """Sends what is due; says whether more may be, and None when nothing is parked."""
    return send_due(app, parking, stopped) == BATCH if parking.any() else None


def send_due(app: Any, parking: Parking, stopped: threading.Event | None = None) -> int:
    """Sends the parked messages whose time has come, ``BATCH`` at most; returns how many.

    Raises:
        BrokerUnavailable, kombu's OperationalError: when it is away; nothing is lost.
    """
    due = parking.due(BATCH)
    for sent, message in enumerate(due):
        if stopped is not None and stopped.is_set():
            return sent
        send(app, message)
        parking.sent(message)
    return len(due)


def send(app: Any, message: ParkedLink) -> None:
    """Puts one message into its queue as it was, with the retries it had used up."""
    app.send_task(
        TASK,
        args=(message.job_id, message.position, message.link),
        kwargs={"ticket": message.ticket},
        queue=QUEUE,
        task_id=message.task_id,
        retries=message.retries,
        soft_time_limit=message.soft_time_limit,
        time_limit=message.time_limit,
        priority=message.priority,
        argsrepr=message.caption or f"link {message.position + 1} of job {message.job_id}",
        kwargsrepr="{}",
    )
