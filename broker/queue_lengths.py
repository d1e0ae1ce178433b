"""How many messages wait in queues, or are anywhere, on whatever broker they are."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from broker.broker_url import kind_of
from broker.control import Control, key_prefix
from broker.settings import Settings
from broker.work_counts import WorkCounts

if TYPE_CHECKING:
    from broker.amqp_broker import AmqpBroker


def on_control(settings: Settings) -> bool:
    """Whether the queues are in the Redis of the shared state, which tells all lengths in one round trip."""
    return _on_redis(settings) and settings.control_url is None


def waiting_by_queue(settings: Settings, control: Control, queues: Iterable[str]) -> dict[str, int]:
    """Messages that wait in each of ``queues``; those that a worker holds are not among them.

    Args:
        settings: of the system.
        control: its shared state.
        queues: by name; one that nobody has declared is empty.

    Raises:
        BrokerUnavailable: the broker is away.
    """
    if _on_redis(settings):
        return _redis(settings, control).lengths(queues)[0]
    return _amqp(settings).lengths(queues)


def waiting_in(settings: Settings, control: Control, queues: Iterable[str]) -> int:
    """Messages that wait in ``queues`` together; see ``waiting_by_queue``."""
    return sum(waiting_by_queue(settings, control, queues).values())


def all_messages(settings: Settings, control: Control, queues: Iterable[str]) -> int:
    """Messages that wait in ``queues``, or are elsewhere: held by a worker of any queue, delayed, parked, or
    held before their first stage.

    While a job is under way this is never 0: a stage sends the next message before it acknowledges its own.
    It is 0 when the broker has lost them, or when nobody has sent them. On RabbitMQ the workers tell what
    they hold, with every beat: a worker that cannot tell seems to hold nothing, and one that has just taken
    a message tells it a beat later. So 0 means something only when it stays.

    Raises:
        BrokerUnavailable: the broker or the shared state is away.
    """
    waiting, held = lengths(settings, control, queues)
    delayed = 0 if _on_redis(settings) else _amqp(settings).delayed()
    return sum(waiting.values()) + delayed + held + control.aside()


def lengths(settings: Settings, control: Control, queues: Iterable[str]) -> tuple[dict[str, int], int]:
    """Messages that wait in each of ``queues``, and those held by a worker of any.

    Raises:
        BrokerUnavailable: the broker or the shared state is away.
    """
    if _on_redis(settings):
        return _redis(settings, control).lengths(queues)
    return _amqp(settings).lengths(queues), sum(WorkCounts(control).running().values())


def _on_redis(settings: Settings) -> bool:
    return kind_of(settings.broker).in_redis


def _amqp(settings: Settings) -> "AmqpBroker":
    from broker.amqp_broker import AmqpBroker  # here: with Redis it would only cost time

    return AmqpBroker.of(settings)


def _redis(settings: Settings, control: Control) -> Control:
    """Where the queues are."""
    if on_control(settings):
        return control
    return _connected(settings.broker, key_prefix(settings), settings.broker_ca)


@cache
def _connected(url: str, prefix: str, authority: Path | None) -> Control:
    return Control(url, prefix, authority)
