"""How many messages wait in queues, on whatever broker they are."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from broker.broker_url import kind_of
from broker.control import Control, key_prefix
from broker.settings import Settings


def on_control(settings: Settings) -> bool:
    """Whether the queues are in the Redis of the shared state, which tells all lengths in one round trip."""
    return _on_redis(settings) and settings.control_url is None


def waiting_in(app: Any, settings: Settings, control: Control, queues: Sequence[str]) -> int:
    """Messages that wait in ``queues`` together; those that a worker holds are not among them.

    Raises:
        BrokerUnavailable, kombu's OperationalError, OSError: the broker is away.
    """
    if _on_redis(settings):
        asked = control if on_control(settings) else _broker(settings)
        return sum(asked.lengths(queues)[0].values())
    with app.connection_for_write() as connection:
        return sum(_declared(connection, queue) for queue in queues)


def _on_redis(settings: Settings) -> bool:
    return kind_of(settings.broker).in_redis


def _broker(settings: Settings) -> Control:
    """The broker's own Redis, where the shared state is in another one."""
    return _connected(settings.broker, key_prefix(settings), settings.broker_ca)


@cache
def _connected(url: str, prefix: str, authority: Path | None) -> Control:
    return Control(url, prefix, authority)


def _declared(connection: Any, queue: str) -> int:
    """By a passive declaration (AMQP 0-9-1, queue.declare); a queue that nobody has declared is empty."""
    channel = connection.channel()
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors:  # 404; the server has closed the channel
        return 0
    finally:
        channel.close()
