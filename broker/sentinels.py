"""The Redis that Sentinels name, now one machine and after a failover another. Wraps ``redis.sentinel``.

https://redis.io/docs/latest/develop/reference/sentinel-clients/ says what a client has to do; redis-py does
it, but for telling why there is no master, which is the first thing that somebody who sets one up must know.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from broker.broker_url import BrokerKind, BrokerUrl
from broker.errors import BrokerRefuses, BrokerUnavailable
from broker.tls import tls_options

SILENCE_SECONDS = 2.0
"""After which a Sentinel that does not answer is passed over: there are others, and work waits."""


HEALTH_SECONDS = 5
"""Between two looks of a worker at its link. A master whose machine is gone says nothing, and another has
taken over within seconds; with the 25 of a single server a worker waited 48 s for the dead one, now 11."""


class NoMaster(MasterNotFoundError):
    """No Sentinel names a master. ``typed`` says why."""

    def __init__(self, typed: BrokerUnavailable) -> None:
        super().__init__(str(typed))
        self.typed = typed


class Sentinels(Sentinel):
    """redis-py's, that says why there is no master.

    Args:
        places: hosts and ports.
        greeting: see ``greeting``.
        **options: redis-py's, of the connections to the master.
    """

    def __init__(
        self, places: Sequence[tuple[str, int]], greeting: Mapping[str, Any], **options: Any
    ) -> None:
        once = Retry(NoBackoff(), 0)  # redis-py would try three times, with pauses; the next one is asked
        start: Any = super().__init__
        start(list(places), sentinel_kwargs={"retry": once, **greeting}, **options)

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """The master's host and port.

        Raises:
            NoMaster: the Sentinels are away, refuse the password, do not know the service, or know that its
                master is away.
        """
        failures: list[redis.RedisError] = []
        known = False
        asked = self.sentinels
        for sentinel in asked:
            try:
                masters: Any = sentinel.sentinel_masters()
            except redis.RedisError as error:
                failures.append(error)
                continue
            state = masters.get(service_name)
            good: Any = self.check_master_state
            if state and good(state, service_name):
                # The one that answers is asked first. A new list: other threads may go through the old.
                self.sentinels = [sentinel, *(other for other in asked if other is not sentinel)]
                return str(state["ip"]), int(state["port"])
            known = known or state is not None
        raise NoMaster(_reason(service_name, len(asked), known, failures))


def _reason(service: str, asked: int, known: bool, failures: list[redis.RedisError]) -> BrokerUnavailable:
    if known:
        return BrokerUnavailable(
            f"The Sentinels have lost sight of the master of {service!r}, and have chosen no other yet.",
            "Wait until they have. If it lasts: as many of them as its quorum says must run and see each "
            "other, and a replica must run (SENTINEL CKQUORUM and SENTINEL REPLICAS tell).",
        )
    if len(failures) < asked:
        return BrokerRefuses(
            f"The Sentinels know no service {service!r}.",
            "The path of HARDPOSE_BROKER_URL begins with the name after `sentinel monitor` in their "
            "configuration: redis+sentinel://HOST:26379/NAME/0.",
        )
    refused = next((error for error in failures if _refuses(error)), None)
    if refused is not None:
        return BrokerRefuses(
            f"The Sentinels refuse the user or the password: {str(refused).rstrip('.')}.",
            "They are told those of HARDPOSE_BROKER_URL. Sentinels with others want ?sentinel_username=USER&"
            "sentinel_password=PASSWORD at its end, those without any ?sentinel_password= alone.",
        )
    return BrokerUnavailable(
        f"None of {asked} Sentinels answers: {str(failures[0]).rstrip('.')}.",
        "Check that they run, that HARDPOSE_BROKER_URL has their hosts and ports (not those of the Redis "
        "servers), and that it begins with rediss+sentinel:// where they speak TLS.",
    )


def _refuses(error: redis.RedisError) -> bool:
    return isinstance(error, (redis.AuthenticationError, redis.exceptions.NoPermissionError))


def master_client(url: BrokerUrl, authority: Path | None, **options: Any) -> redis.Redis:
    """A client of the master, whichever it is when it connects.

    Args:
        url: of the kind SENTINEL.
        authority: whose certificates are believed; see ``broker.tls``.
        **options: redis-py's, of the connections to the master.
    """
    find: Any = Sentinels(url.hosts, greeting(url, authority)).master_for
    account = {"username": url.user, "password": url.password, "db": url.database}
    tls = {"ssl": url.tls, **tls_options(url.tls, authority)}
    client: redis.Redis = find(url.service, **account, **tls, **options)
    return client


def greeting(url: BrokerUrl, authority: Path | None) -> dict[str, Any]:
    """How a Sentinel is connected to: redis-py's options, password included.

    A user is always named: a server without a password takes any for ``default``, but refuses one without
    a user (Redis documentation, AUTH).
    """
    account: dict[str, Any] = {}
    if url.sentinel_password is not None:
        account = {"username": url.sentinel_user or "default", "password": url.sentinel_password}
    silence = {"socket_timeout": SILENCE_SECONDS, "socket_connect_timeout": SILENCE_SECONDS}
    return {**account, **silence, "ssl": url.tls, **tls_options(url.tls, authority)}


def transport_options(url: BrokerUrl, authority: Path | None) -> dict[str, Any]:
    """What ``broker.transport.SentinelTransport`` is told beside the URL; {} for a broker of another kind.

    Celery hides the password in it wherever it shows its configuration (``filter_hidden_settings``).
    """
    if url.kind is not BrokerKind.SENTINEL:
        return {}
    hosts = [list(host) for host in url.hosts]
    return {
        "master_name": url.service,
        "sentinels": hosts,
        "sentinel_kwargs": greeting(url, authority),
        "health_check_interval": HEALTH_SECONDS,
    }
