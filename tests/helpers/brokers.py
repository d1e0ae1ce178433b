"""Every kind of broker that hardpose knows, as real servers, with the settings that name it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rabbitmq_server import rabbitmq_server
from redis_servers import SentinelGroup, one_redis, redis_server, url_of


def nothing() -> None:
    """A broker without a mishap."""


@dataclass(frozen=True)
class Broker:
    """A running broker."""

    settings: dict[str, str]
    """As variables of the environment."""
    mishap: Callable[[], None] = field(default=nothing)
    """What befalls it in the middle of the work, if anything: it returns when the broker is there again."""


@contextmanager
def redis_broker(folder: Path) -> Iterator[Broker]:
    """A Redis with a password."""
    with one_redis(folder / "redis") as settings:
        yield Broker(settings)


@contextmanager
def rediss_broker(folder: Path) -> Iterator[Broker]:
    """The same over TLS, its certificate signed by an authority that must be named."""
    with one_redis(folder / "redis", tls=True) as settings:
        yield Broker(settings)


@contextmanager
def sentinel_broker(folder: Path) -> Iterator[Broker]:
    """Two Redis servers under three Sentinels; the mishap is the death of the master."""
    with SentinelGroup(folder / "group") as group:

        def fail() -> None:
            group.replaced(group.lose_master())

        yield Broker({"HARDPOSE_BROKER_URL": group.url()}, fail)


@contextmanager
def rabbitmq_broker(folder: Path) -> Iterator[Broker]:
    """RabbitMQ, with a Redis beside it for the small shared state."""
    with rabbitmq_server(folder / "rabbitmq") as url, redis_server(folder / "redis") as state:
        yield Broker({"HARDPOSE_BROKER_URL": url, "HARDPOSE_CONTROL_URL": url_of(state)})


BROKERS = {
    "redis": redis_broker,
    "rediss": rediss_broker,
    "sentinel": sentinel_broker,
    "rabbitmq": rabbitmq_broker,
}
