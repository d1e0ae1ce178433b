"""RabbitMQ, asked by AMQP: whether it takes us, and how long queues are. Celery does the rest."""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from kombu import Connection
from kombu import transport as transports

from broker.amqp_queues import work_queue
from broker.broker_url import parse_broker_url
from broker.connection import SILENCE_SECONDS, broker_error
from broker.settings import Settings
from broker.tls import celery_tls

log = logging.getLogger(__name__)

TRANSPORTS = {"amqp": "broker.amqp_transport:Transport", "amqps": "broker.amqp_transport:TlsTransport"}
"""Of kombu's schemes, by name: whoever is on Redis loads none of it."""
SENDER_SECONDS = 20.0
"""For which a person's message waits for its confirmation: an alarm that a burst has set off is over."""
WORKER_SECONDS = 60.0
"""For which a worker's does. Its work is done by then, and to give it back is to do it again."""
CONNECTIONS = 4
"""Of one process, for questions."""
DELAYED = tuple(f"celery_delayed_{level}" for level in range(6))
"""Where kombu lets messages wait for their time, by the bits of the seconds; ours wait for half a minute."""
QUEUE_TIMEOUTS = (3, 12)
"""The release of RabbitMQ from which a queue may have a ``x-consumer-timeout``."""
SERVER_TIMEOUT_SECONDS = 30 * 60
"""Of RabbitMQ's setting ``consumer_timeout``, unless its configuration says otherwise."""
_MISSING = 404
T = TypeVar("T")


def use_transports(ours: Mapping[str, str]) -> None:
    """Has kombu take our transports from now on, also for a scheme that it has been asked for before.

    By name, so that whoever asks for the broker's address, as Flower does, is told of no other scheme.

    Args:
        ours: ``module:class`` by scheme.
    """
    for scheme, place in ours.items():
        if transports.TRANSPORT_ALIASES.get(scheme) != place:
            transports.TRANSPORT_ALIASES[scheme] = place
            transports._transport_cache.pop(scheme, None)


def amqp_options(patience: float = SENDER_SECONDS) -> dict[str, Any]:
    """Transport options of every connection, for kombu.

    Args:
        patience: seconds for which a message that was sent may stay unconfirmed.
    """
    options: dict[str, Any] = {
        "confirm_publish": True,  # sent is what the server has taken, on most of its nodes, and nothing else
        "patience": patience,
    }
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux
        # Milliseconds without an answer; the second of py-amqp is less than a device's radio may need.
        options["socket_settings"] = {socket.TCP_USER_TIMEOUT: SILENCE_SECONDS * 1000}
    return options


class AmqpBroker:
    """A RabbitMQ under one URL (password included: never log it). May be used by several threads.

    Args:
        url: ``amqp://`` or ``amqps://``.
        authority: that has signed its certificate; None: the system's.

    Raises:
        SettingsError: the URL or the authority's file cannot be used.
    """

    def __init__(self, url: str, authority: Path | None = None) -> None:
        use_transports(TRANSPORTS)
        parts = parse_broker_url(url)
        self._others = len(parts.hosts) - 1
        self._pool = Connection(
            parts.kombu,
            ssl=celery_tls(url, authority) or False,
            connect_timeout=SILENCE_SECONDS,
            transport_options=amqp_options(),
        ).Pool(limit=CONNECTIONS)

    @classmethod
    def of(cls, settings: Settings) -> "AmqpBroker":
        """The broker that ``settings`` name; one for each process, so that a fork shares no connection."""
        return _connected(settings.broker, settings.broker_ca, os.getpid())

    def version(self) -> tuple[int, ...]:
        """The server's release, such as (3, 10, 8).

        Raises:
            BrokerUnavailable: names what went wrong. So does every other method.
        """
        return self._ask(_version)

    def lengths(self, queues: Iterable[str]) -> dict[str, int]:
        """Messages that wait in each of ``queues``; those that a worker holds are not among them."""
        names = tuple(queues)
        return self._ask(lambda connection: {name: _waiting(connection, name) for name in names})

    def delayed(self) -> int:
        """Messages that wait for their time, of all queues."""
        return sum(self.lengths(DELAYED).values())

    def declare(self, queues: Sequence[str]) -> None:
        """Makes the queues of work that are missing.

        Raises:
            BrokerQueuesDiffer: one is there and of another kind.
            BrokerRefuses: the user may not.
        """
        self._ask(lambda connection: _declare(connection, queues))

    def _ask(self, question: Callable[[Any], T]) -> T:
        """Asks; a connection that has died since it was last used is no answer, and another one is tried."""
        for _ in range(CONNECTIONS):
            try:
                return self._ask_once(question)
            except _ConnectionWasDead:
                continue
        return self._ask_once(question)

    def _ask_once(self, question: Callable[[Any], T]) -> T:
        connection = self._pool.acquire(block=True)
        used = connection.connected
        try:
            # Each host once, and at once: kombu would wait for two seconds before it says that one is away.
            connection.ensure_connection(
                max_retries=self._others, interval_start=0, reraise_as_library_errors=False
            )
            answer = question(connection)
        except (*connection.connection_errors, *connection.channel_errors) as error:
            self._pool.replace(connection)
            if used and isinstance(error, connection.recoverable_connection_errors):
                raise _ConnectionWasDead from error
            raise broker_error(error) from error
        except BaseException:
            self._pool.replace(connection)
            raise
        connection.release()
        return answer


class _ConnectionWasDead(Exception):
    """That it could be used before says nothing of now."""


@cache
def _connected(url: str, authority: Path | None, pid: int) -> AmqpBroker:  # noqa: ARG001 - of the cache
    return AmqpBroker(url, authority)


def _declare(connection: Any, queues: Sequence[str]) -> None:
    channel = connection.channel()
    for name in queues:
        work_queue(name).bind(channel).declare()
    channel.close()


def _version(connection: Any) -> tuple[int, ...]:
    connection.channel().close()  # what the server has said when it was connected is no sign of life
    told = str(connection.connection.server_properties.get("version", ""))
    return tuple(int(part) for part in told.split(".") if part.isdecimal())


def _waiting(connection: Any, queue: str) -> int:
    """By a passive declaration (AMQP 0-9-1, queue.declare); a queue that nobody has declared is empty."""
    channel = connection.channel()
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors as error:  # the server has closed the channel
        if error.reply_code != _MISSING:
            raise
        return 0
    finally:
        channel.close()


def check_amqp(settings: Settings, queues: Sequence[str], seconds: float) -> None:
    """What a worker looks at before it takes work.

    Args:
        settings: of the system.
        queues: that it will serve; made if they are missing.
        seconds: for which it may work on one message.

    Raises:
        BrokerUnavailable: it is away, or refuses.
    """
    broker = AmqpBroker.of(settings)
    broker.declare(queues)
    version = broker.version()
    if version < QUEUE_TIMEOUTS and seconds >= SERVER_TIMEOUT_SECONDS:
        log.warning(
            "RabbitMQ %s takes a message from its worker after consumer_timeout, half an hour by default, "
            "and work here may take %.0f minutes: set consumer_timeout = %d in rabbitmq.conf, or use 3.12",
            ".".join(map(str, version)),
            seconds / 60,
            int(seconds + 600) * 1000,
        )
