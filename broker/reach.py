"""Whether the broker answers: the one with the queues, and the Redis of the shared state beside it."""

from collections.abc import Sequence

from broker.broker_url import kind_of
from broker.control import Control
from broker.settings import Settings


def ask_broker(settings: Settings, control: Control | None = None) -> str:
    """Asks for a sign of life, and says in a few words who has given it.

    Args:
        settings: of the system.
        control: its shared state, where a connection is there already.

    Raises:
        BrokerUnavailable: one of them does not answer, or refuses.
        SettingsError: a URL or the certificate authority's file cannot be used.
    """
    (control or Control.of(settings)).ping()
    if kind_of(settings.broker).in_redis:
        return "answers"
    from broker.amqp_broker import AmqpBroker

    version = AmqpBroker.of(settings).version()
    return f"answers: RabbitMQ {'.'.join(map(str, version))}, and Redis for the shared state"


def prepare_broker(settings: Settings, queues: Sequence[str], seconds: float) -> None:
    """What a worker asks before it takes work: on RabbitMQ its queues are made, or found to be of our kind.

    Args:
        settings: of the system.
        queues: that it will serve.
        seconds: for which it may work on one message.

    Raises:
        BrokerUnavailable, SettingsError: see ``ask_broker``.
        BrokerQueuesDiffer: a queue of that name is there, and of another kind.
    """
    Control.of(settings).ping()
    if not kind_of(settings.broker).in_redis:
        from broker.amqp_broker import check_amqp

        check_amqp(settings, queues, seconds)
