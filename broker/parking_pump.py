"""Sends parked messages when their time has come: one thread in each worker that fetches."""

import logging
import random
import threading
from typing import Any

from celery import bootsteps
from kombu.exceptions import OperationalError

from broker.control import Control
from broker.errors import BrokerUnavailable
from broker.parking import ParkedLink, Parking
from broker.settings import Settings

log = logging.getLogger(__name__)

QUEUE = "download"
"""The queue of the parked messages, and of the workers that send them."""
TASK = "hardpose.download"
EVERY_SECONDS = 0.4
"""Between two looks; each pause differs a little, so that many workers do not look at once."""
BATCH = 50
AWAY_SECONDS = 2.0
"""Pause while the broker is away."""
STOP_SECONDS = 2.0


class ParkingPump(bootsteps.StartStopStep):  # type: ignore[misc]
    """A step of the consumer: it starts with every (re)connect and stops with every loss of it.

    A worker that shuts down sends nothing more. What it leaves parked is sent by the other workers, or by
    the next one that starts.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def start(self, parent: Any) -> None:
        """Called with the consumer at every (re)connect."""
        if QUEUE not in parent.app.amqp.queues.consume_from:
            return
        self.stop(parent)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=pump,
            args=(parent.app, parent.app.hardpose_settings, self._stopped),
            name="parking-pump",
            daemon=True,
        )
        self._thread.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Ends the thread; what it has taken and not sent is due again in a short while."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
            self._thread = None

    terminate = shutdown = stop


def pump(app: Any, settings: Settings, stopped: threading.Event) -> None:
    """Sends what is due until ``stopped``; a broker that is away is waited for."""
    try:
        parking = Parking(Control.of(settings))
    except BrokerUnavailable as error:
        log.error("this worker sends no parked messages: %s", error)
        return
    wait = 0.0
    while not stopped.wait(wait):
        wait = EVERY_SECONDS * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        try:
            sent = send_due(app, parking, stopped)
        except (BrokerUnavailable, OperationalError, OSError) as error:
            log.warning("parked messages wait for the broker: %s", error)
            wait = AWAY_SECONDS
        except Exception:
            # Without this thread the parked messages of the last worker would wait for ever.
            log.exception("a parked message could not be sent; it is tried again")
            wait = AWAY_SECONDS
        else:
            wait = 0.0 if sent == BATCH else wait


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
