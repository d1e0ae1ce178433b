"""The connection to the shared state in Redis: one URL, one prefix of all keys, one kind of error."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from broker.errors import BrokerUnavailable
from broker.settings import Settings

EXPIRY_SECONDS = 14 * 24 * 3600
"""Long enough for a device that is switched off over a holiday."""


def key_prefix(settings: Settings) -> str:
    """What all keys of this system begin with, kombu's and ours."""
    return f"{settings.namespace}:" if settings.namespace else ""


class Connection:
    """Keys under one Redis URL (password included: never log it).

    Args:
        url: of a Redis or Valkey database.
        prefix: of every key; see ``key_prefix``.
    """

    def __init__(self, url: str, prefix: str = "") -> None:
        self._prefix = prefix
        self._redis = redis.Redis.from_url(
            url, socket_timeout=10, socket_connect_timeout=10, health_check_interval=25, decode_responses=True
        )

    def key(self, name: str) -> str:
        """The whole name of one of our keys."""
        return f"{self._prefix}hardpose:{name}"

    @contextmanager
    def server(self) -> Iterator[redis.Redis]:
        """The client, for the modules of this room; it answers in text.

        Raises:
            BrokerUnavailable: names what went wrong inside the ``with``.
        """
        with self._typed():
            yield self._redis

    def ping(self) -> None:
        """Asks for a sign of life.

        Raises:
            BrokerUnavailable: names what went wrong. So does every other method.
        """
        with self._typed():
            self._redis.ping()

    @contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise BrokerUnavailable(
                f"The broker does not answer: {error}.",
                "Check that it runs and that HARDPOSE_BROKER_URL and its password are right.",
            ) from error
