"""Keeps the lease of messages that a worker holds, so that the visibility timeout can be short.

kombu's Redis transport gives a message to another worker once ``visibility_timeout`` seconds have passed
since delivery, whether its holder is alive or not: a short timeout repeats long tasks, a long one makes the
messages of a dead worker wait. This step stamps held messages anew every quarter of the timeout. It reads
two private fields of kombu's QoS (``_delivered`` and ``_dirty``); kombu is pinned and a test guards them.
"""

import logging
import threading
import time
from typing import Any, ClassVar

from celery import bootsteps
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

log = logging.getLogger(__name__)


class LeaseKeeper(bootsteps.StartStopStep):  # type: ignore[misc]
    """A step of the consumer with one daemon thread in each worker process.

    The thread outlives the consumer on purpose: during a warm shutdown the last task still runs, and
    stopping to renew there would give its message to somebody else.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    _thread: ClassVar[threading.Thread | None] = None
    _held_by: ClassVar[list[Any]] = []

    def start(self, parent: Any) -> None:
        """Called with the consumer at every (re)connect."""
        channel = parent.task_consumer.channel
        if not hasattr(channel.qos, "unacked_index_key"):
            return  # a broker with leases of its own, RabbitMQ for one
        # The channels before a reconnect may still hold the message of the running task.
        LeaseKeeper._held_by = [*LeaseKeeper._held_by, channel.qos][-3:]
        if LeaseKeeper._thread is None:
            every = channel.visibility_timeout / 4
            thread = threading.Thread(
                target=self._renew_for_ever,
                args=(parent.app, every, channel.unacked_index_key),
                name="lease-keeper",
                daemon=True,
            )
            LeaseKeeper._thread = thread
            thread.start()

    def stop(self, parent: Any) -> None:
        """Keeps renewing until the process is gone."""

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
                tags = held_tags(LeaseKeeper._held_by)
                if tags:
                    # XX: a message that was acknowledged meanwhile must not come back to life.
                    client.zadd(index_key, dict.fromkeys(tags, time.time()), xx=True)


def held_tags(held_by: list[Any]) -> set[str]:
    """Delivery tags that were delivered and not yet acknowledged, over kombu QoS objects."""
    return {tag for qos in list(held_by) for tag in list(qos._delivered) if tag not in qos._dirty}
