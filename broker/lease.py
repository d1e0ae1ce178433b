"""Keeps the lease of messages that a worker holds, so that the visibility timeout can be short.

kombu's Redis transport gives a message to another worker once ``visibility_timeout`` seconds have passed
since delivery, whether its holder is alive or not: a short timeout repeats long tasks, a long one makes the
messages of a dead worker wait. This step stamps held messages anew every quarter of the timeout.

Held is what Celery still works on, has reserved, or keeps for a later try; not what kombu has delivered: a
message whose acknowledgement or return was lost with the link would be kept for ever.
"""

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any, ClassVar

from celery import bootsteps
from celery.worker import state
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from broker.queue_scripts import RENEW
from broker.transport import HeldMessages, whole_keys

log = logging.getLogger(__name__)


class LeaseKeeper(bootsteps.StartStopStep):  # type: ignore[misc]
    """A step of the consumer with one daemon thread in each worker process.

    The thread outlives the consumer on purpose: during a warm shutdown the last task still runs, and
    stopping to renew there would give its message to somebody else.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    _thread: ClassVar[threading.Thread | None] = None

    def start(self, parent: Any) -> None:
        """Called with the consumer at every (re)connect."""
        channel = parent.task_consumer.channel
        if not isinstance(getattr(channel, "qos", None), HeldMessages):
            return  # RabbitMQ knows by itself who holds what
        # When the link breaks, kombu closes this channel, and would put back what is at work right now.
        channel.do_restore = False
        HeldMessages.newest = channel.qos
        if LeaseKeeper._thread is None:
            every = channel.visibility_timeout / 4
            thread = threading.Thread(
                target=self._renew_for_ever,
                args=(parent.app, every, *whole_keys(channel, channel.unacked_index_key)),
                name="lease-keeper",
                daemon=True,
            )
            LeaseKeeper._thread = thread
            thread.start()

    def stop(self, parent: Any) -> None:
        """Keeps renewing until the process is gone; what is then left undone is put back at once."""
        if parent.task_consumer is not None:  # to a channel of RabbitMQ it says nothing
            parent.task_consumer.channel.do_restore = True

    terminate = shutdown = stop

    def _renew_for_ever(self, app: Any, every: float, index_key: str) -> None:
        while True:
            try:
                with app.connection_for_read() as connection:
                    self._renew_on(connection, every, index_key)
            except (OSError, RedisError, OperationalError) as error:
                log.warning("could not renew the leases, connecting anew: %s", error)
                time.sleep(every)

    def _renew_on(self, connection: Any, every: float, index_key: str) -> None:
        with connection.default_channel.conn_or_acquire() as client:
            while True:
                time.sleep(every)
                tags = held_tags(list(state.requests.values()))
                if tags:
                    client.eval(RENEW, 1, index_key, *tags)


def held_tags(requests: Iterable[Any]) -> list[str]:
    """Delivery tags of Celery's requests that are neither acknowledged nor given back."""
    return [request.message.delivery_tag for request in requests if not request.acknowledged]
