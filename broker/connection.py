"""The connection to the shared state in Redis: one URL, one prefix of all keys, one kind of error."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from broker.amqp_errors import amqp_fault
from broker.broker_url import BrokerKind, parse_broker_url
from broker.errors import BrokerRefuses, BrokerUnavailable, BrokerUntrusted
from broker.sentinels import NoMaster, master_client
from broker.settings import Settings
from broker.tls import redis_tls

EXPIRY_SECONDS = 14 * 24 * 3600
"""Long enough for a device that is switched off over a holiday."""
SILENCE_SECONDS = 10
"""After which a server that does not answer is away: a link that was cut says nothing."""
CERTIFICATE = "CERTIFICATE_VERIFY_FAILED"
"""OpenSSL's word, where a library keeps nothing of the error but its text."""


def key_prefix(settings: Settings) -> str:
    """What all keys of this system begin with, kombu's and ours."""
    return f"{settings.namespace}:" if settings.namespace else ""


def control_url(settings: Settings) -> str:
    """The URL of the shared state, password included: never log it.

    Raises:
        BrokerUnavailable: no broker is configured.
    """
    return settings.control_url.get_secret_value() if settings.control_url else settings.broker


class Connection:
    """Keys under one Redis URL (password included: never log it).

    Args:
        url: of a Redis or Valkey database, or of Sentinels that know which one it is.
        prefix: of every key; see ``key_prefix``.
        authority: that has signed the server's certificate, where it speaks TLS; None: the system's.

    Raises:
        SettingsError: the URL or the authority's file cannot be used.
    """

    def __init__(self, url: str, prefix: str = "", authority: Path | None = None) -> None:
        self._prefix = prefix
        self._redis = redis_client(
            url,
            authority,
            socket_timeout=SILENCE_SECONDS,
            socket_connect_timeout=SILENCE_SECONDS,
            health_check_interval=25,
            decode_responses=True,
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
            raise broker_error(error) from error


def redis_client(url: str, authority: Path | None = None, **options: Any) -> redis.Redis:
    """A client of a Redis, wherever it is; it connects when it is first used.

    Args:
        url: ``redis://``, ``rediss://``, ``redis+sentinel://`` or ``rediss+sentinel://``.
        authority: see ``Connection``.
        **options: redis-py's, of a connection.

    Raises:
        SettingsError: the URL or the authority's file cannot be used.
    """
    tls = redis_tls(url, authority)
    parts = parse_broker_url(url)
    if parts.kind is BrokerKind.SENTINEL:
        return master_client(parts, authority, **options)
    client: redis.Redis = redis.Redis.from_url(url, **options, **tls)
    return client


def broker_error(error: BaseException) -> BrokerUnavailable:
    """``error`` of redis-py, of kombu or of a socket as one of ours: all of them pass, some when mended.

    Neither library puts a password into its words.
    """
    chain, words = _chain(error), str(error).rstrip(".")
    if no_master := next((link for link in chain if isinstance(link, NoMaster)), None):
        return no_master.typed
    if refused := amqp_fault(chain):
        return refused
    if any(isinstance(link, redis.AuthenticationError) for link in chain):
        return BrokerRefuses(
            f"The broker refuses the user or the password: {words}.",
            "Set them right in HARDPOSE_BROKER_URL: rediss://USER:PASSWORD@HOST:PORT/0.",
        )
    if any(isinstance(link, ssl.SSLCertVerificationError) or CERTIFICATE in str(link) for link in chain):
        return BrokerUntrusted(
            f"The broker's certificate is not believed: {words}.",
            "Name the authority that has signed it with HARDPOSE_BROKER_CA, ask for the host by the name in "
            "the certificate, and look at this machine's clock and the certificate's dates.",
        )
    remedy = "Check that it runs and that HARDPOSE_BROKER_URL and its password are right."
    if any(isinstance(link, (ConnectionResetError, ssl.SSLError)) for link in chain):
        remedy += (
            " It begins with rediss:// where the broker speaks TLS, with redis:// where it does not; with "
            "amqps:// or amqp:// where it is RabbitMQ."
        )
    return BrokerUnavailable(f"The broker does not answer: {words}.", remedy)


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error and what it came from."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
