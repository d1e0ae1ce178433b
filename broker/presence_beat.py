"""Keeps a worker's card fresh while its process lives, and its device's unit, whatever its pool is at."""

import logging
import os
import socket
import threading
from typing import Any, ClassVar

from celery import bootsteps

from broker.control import Control
from broker.device_register import DeviceRegister, DeviceUnit
from broker.errors import BrokerUnavailable
from broker.held_requests import HeldRequests
from broker.presence import Presence, WorkerCard, worker_key
from broker.settings import Settings
from broker.work_counts import WorkCounts

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
FIRST_SECONDS = 1.0
"""Between two looks whether the models are loaded and the card is handed in; see ``PresenceBeat.card``."""


class PresenceBeat(bootsteps.StartStopStep):  # type: ignore[misc]
    """A step of the consumer with one daemon thread in each worker process.

    The thread outlives the consumer, as that of the leases does: a worker that finishes its last task, or has
    lost the broker for a moment, is still there.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    card: ClassVar[WorkerCard | None] = None
    """What this worker has handed in; None: it has not loaded its models yet, or reaches no broker."""
    _thread: ClassVar[threading.Thread | None] = None
    _ended: ClassVar[threading.Event] = threading.Event()

    def start(self, parent: Any) -> None:
        """Called with the consumer at every (re)connect."""
        if PresenceBeat._thread is None:
            requests = HeldRequests(parent.app.amqp.queues.consume_from)
            requests.watch()
            PresenceBeat._thread = threading.Thread(
                target=beat_until,
                args=(PresenceBeat._ended, parent.app.hardpose_settings, own_key(), requests),
                name="presence-beat",
                daemon=True,
            )
            PresenceBeat._thread.start()

    def stop(self, parent: Any) -> None:
        """Keeps beating until the process is about to end."""

    terminate = shutdown = stop

    @classmethod
    def end(cls, settings: Settings) -> None:
        """The worker is about to end: no more beats, no card."""
        cls._ended.set()
        if cls._thread is not None:
            cls._thread.join(BEAT_SECONDS)
        try:
            control = Control.of(settings)
            Presence(control).withdraw(own_key())
            WorkCounts(control).forget(own_key())
            if settings.device is not None:
                DeviceRegister(control).leave(own_key())
        except BrokerUnavailable as error:
            log.warning("the broker does not hear that this worker ends: %s", error)


def own_key() -> str:
    """The key of the worker whose main process is this one."""
    return worker_key(socket.gethostname(), os.getpid())


def beat_until(
    ended: threading.Event, settings: Settings, key: str, requests: HeldRequests | None = None
) -> None:
    """Beats every ``BEAT_SECONDS``; a broker that is away, or has lost its memory, is told again.

    Args:
        ended: ends it.
        settings: name the broker.
        key: of the worker.
        requests: that it holds; None: it tells of none.
    """
    try:
        control = Control.of(settings)
    except BrokerUnavailable as error:
        log.error("this worker is not shown: %s", error)
        return
    presence, register, counts = Presence(control), DeviceRegister(control), WorkCounts(control)
    card: WorkerCard | None = None
    unit: DeviceUnit | None = None
    while not ended.wait(BEAT_SECONDS if card is not None else min(FIRST_SECONDS, BEAT_SECONDS)):
        try:
            PresenceBeat.card = card = _beat(presence, key, card)
            if requests is not None:
                counts.tell(key, requests.held(), requests.taken())
            if settings.device is not None:
                unit = _beat_unit(register, key, unit)
        except BrokerUnavailable as error:
            log.warning("the broker does not hear that this worker lives: %s", error)


def _beat(presence: Presence, key: str, card: WorkerCard | None) -> WorkerCard | None:
    """One beat. Who has loaded the models hands in the card, and a new one when it turns out unfit, or fit
    again; see ``tasks.worker_card``.
    """
    if not presence.beat(key) and card is not None:
        presence.announce(card)
    return presence.card(key) or card


def _beat_unit(register: DeviceRegister, key: str, unit: DeviceUnit | None) -> DeviceUnit | None:
    """The same for the device that the worker drives."""
    if not register.beat(key) and unit is not None:
        register.announce(unit)
    return unit or register.unit(key)
