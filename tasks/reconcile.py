"""Sends anew what the broker has lost: the catalog is the truth, the queue only a copy of what is open."""

import logging
import time

from celery import Celery

from broker.app import EXPORT_QUEUE
from broker.device_register import DeviceRegister
from broker.errors import BrokerUnavailable
from broker.queue_lengths import all_messages
from broker.recipe import Stage
from tasks.exports.order import send_open_exports
from tasks.replaying import resume
from tasks.runtime import Runtime

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0


class Reconciler:
    """Watches for the one thing that would make a job wait for ever: no message, and work still open.

    Args:
        app: sends.
        runtime: of this process; its broker may be of any kind.
    """

    def __init__(self, app: Celery, runtime: Runtime) -> None:
        self._app, self._runtime = app, runtime
        self._queues = (Stage.DOWNLOAD.value, *runtime.placement.queues, EXPORT_QUEUE)
        self._devices = DeviceRegister(runtime.control)
        self._patience = max(5.0, 2.0 * runtime.settings.visibility_timeout)
        self._looked = self._seen = time.monotonic()

    def lost(self) -> bool:
        """Whether there has been no message for longer than a dead worker's lease; cheap to ask often."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        lost = now - self._seen > self._patience
        if lost or self._messages():
            self._seen = now
        return lost

    def _messages(self) -> bool:
        """Whether there are messages; a broker that is away has lost nothing yet."""
        try:
            # A device that is switched off for a day has lost nothing: its segments wait in its own queue.
            queues = dict.fromkeys((*self._queues, *self._devices.queues()))
            return all_messages(self._runtime.settings, self._runtime.control, queues) > 0
        except BrokerUnavailable as error:
            log.info("cannot count messages: %s", error)
            return True

    def resend(self, job_id: str) -> int:
        """Sends the open links of a job anew, and to its device what only waits for that; what is done is not
        done again. Returns how many links.
        """
        self._seen = time.monotonic()
        sent = resume(self._app, self._runtime, job_id)
        log.warning("job %s has open work and no message: sent %s links anew", job_id, sent)
        return sent

    def resend_exports(self) -> int:
        """Sends the open orders for exports anew. Returns how many."""
        self._seen = time.monotonic()
        return send_open_exports(self._app, self._runtime)
