"""The queues of work on RabbitMQ: quorum queues, the same wherever they are declared.

What is declared twice must be declared alike (AMQP 0-9-1, 406 PRECONDITION_FAILED), over releases of hardpose
and of RabbitMQ too; so nothing here depends on a setting or on the server's version.
"""

from typing import Any

from celery.app.amqp import AMQP, Queues
from kombu import Exchange, Queue

CONSUMER_TIMEOUT_MS = 24 * 3600 * 1000
"""After which a message that was not acknowledged is taken back. RabbitMQ's own half an hour is less than a
long transfer takes; our tasks have time limits. Obeyed from RabbitMQ 3.12 on, see ``broker.amqp_check``."""
DELIVERY_LIMIT = 1000
"""Deliveries of one message; RabbitMQ 4 drops it after 20 unless it is told otherwise, and a device that is
switched off for a day takes its segments and gives them back. Ours send them anew long before
(``tasks.redelivery``); work that ends its process is counted by ``tasks.attempts``."""
ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-consumer-timeout": CONSUMER_TIMEOUT_MS,
    "x-delivery-limit": DELIVERY_LIMIT,
}
"""Nothing about priorities: quorum queues refuse ``x-max-priority``."""


def work_queue(name: str) -> Queue:
    """The queue ``name`` with its exchange, which is of the kind that delayed messages need (kombu,
    ``native_delayed_delivery``).

    The routing key has no dot: a delayed message finds its queue by the last words of it, and one to the
    queue ``me.pose``, of a device called pose, must not come to ``pose`` as well.
    """
    key = name.replace(".", ":")
    return Queue(name, Exchange(name, type="topic"), key, queue_arguments=dict(ARGUMENTS))


def queue_behind(routing_key: str) -> str:
    """The name of the queue that a message with this key, delayed or not, has come from."""
    return routing_key.rpartition(".")[2].replace(":", ".")


class WorkQueues(Queues):  # type: ignore[misc]
    """Celery's, of which one that nobody has named before is a queue of work like the others."""

    def new_missing(self, name: str) -> Queue:
        """Called by Celery for a sender's queue."""
        return work_queue(name)


class WorkAMQP(AMQP):  # type: ignore[misc]
    """Celery's part that knows queues, with ours."""

    queues_cls: Any = WorkQueues
