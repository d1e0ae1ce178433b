"""What this worker holds: asked of Celery's own books in the worker's main process."""

from collections import Counter
from collections.abc import Collection
from typing import Any

from celery.signals import task_received

from broker.amqp_queues import queue_behind


class HeldRequests:
    """The messages that this process has taken and not finished, and the queues that it has taken from.

    A message that waits in the process for its time (a retry with a countdown) is not worked on.

    Args:
        queues: that the worker serves.
    """

    def __init__(self, queues: Collection[str]) -> None:
        self._queues = tuple(queues)
        self._taken: set[str] = set()

    def watch(self) -> None:
        """From now on it is noted from which queues messages are taken."""
        task_received.connect(self._received, weak=False)

    def held(self) -> dict[str, int]:
        """Messages by queue, those among them that wait for a free process of the pool."""
        return dict(Counter(self.queue_of(request) for request in _reserved()))

    def taken(self) -> set[str]:
        """The queues that messages were taken from since the last call."""
        taken, self._taken = self._taken, set()
        return taken

    def queue_of(self, request: Any) -> str:
        """The queue that a message came from: its routing key is the queue's name, but on RabbitMQ."""
        key = str((request.delivery_info or {}).get("routing_key") or "")
        return next((queue for queue in (key, queue_behind(key)) if queue in self._queues), key)

    def _received(self, request: Any, **_: Any) -> None:
        self._taken.add(self.queue_of(request))


def _reserved() -> list[Any]:
    """Another thread adds to the set while it is read."""
    from celery.worker import state  # heavy, and here already where there is something to tell

    while True:
        try:
            return list(state.reserved_requests)
        except RuntimeError:
            continue
