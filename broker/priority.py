"""How urgent a job is, and what that is as a number on its messages."""

from enum import StrEnum

from broker.broker_url import BrokerKind, kind_of
from broker.settings import Settings


class Priority(StrEnum):
    """How urgent a job's messages are, on every queue they pass."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


MOST_URGENT_AMQP = 9
"""Of AMQP's priorities, of which RabbitMQ's queues know ten at most."""
_REDIS = {Priority.HIGH: 0, Priority.NORMAL: 3, Priority.LOW: 6}
"""Kombu on Redis keeps a list for each of ``broker.control.PRIORITY_STEPS``; 0 is taken first. What carries
none is 0 too: the small messages that keep the books overtake all work."""
_AMQP = {Priority.HIGH: MOST_URGENT_AMQP, Priority.NORMAL: 4, Priority.LOW: 1}
"""RabbitMQ takes the largest first. Its quorum queues know two levels from 4.0 on, above 4 and the rest, and
take two of the higher for one of the lower (RabbitMQ documentation, "Quorum Queues"); none before."""


def rank_of(settings: Settings, number: int | None) -> int:
    """How many levels are more urgent than a message with this number: 0 for the most urgent."""
    if _on_amqp(settings):
        return MOST_URGENT_AMQP - (number or 0)
    return number or 0


def message_priority(settings: Settings, priority: Priority) -> int:
    """The number that a message of a job carries on the broker of ``settings``."""
    return (_AMQP if _on_amqp(settings) else _REDIS)[priority]


def _on_amqp(settings: Settings) -> bool:
    return kind_of(settings.broker) is BrokerKind.AMQP
