"""How many messages wait in queues, on whatever broker they are."""

from collections.abc import Sequence
from typing import Any

from broker.control import Control
from broker.settings import Settings


def on_control(settings: Settings) -> bool:
    """Whether the queues are in the Redis of the shared state, which tells all lengths in one round trip."""
    return settings.broker.startswith("redis") and settings.control_url is None


def waiting_in(app: Any, settings: Settings, control: Control, queues: Sequence[str]) -> int:
    """Messages that wait in ``queues`` together; those that a worker holds are not among them.

    Raises:
        BrokerUnavailable, kombu's OperationalError, OSError: the broker is away.
    """
    if on_control(settings):
        return sum(control.lengths(queues)[0].values())
    with app.connection_for_write() as connection:
        return sum(_declared(connection, queue) for queue in queues)


def _declared(connection: Any, queue: str) -> int:
    """By a passive declaration (AMQP 0-9-1, queue.declare); a queue that nobody has declared is empty."""
    channel = connection.channel()
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors:  # 404; the server has closed the channel
        return 0
    finally:
        channel.close()
