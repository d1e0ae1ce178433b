"""The brokers that a benchmark runs on: started by it, on 127.0.0.1, and ended with it."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.embedded import EmbeddedBroker

BROKERS = ("redis", "rabbitmq")
HELPERS = Path(__file__).resolve().parent.parent / "tests" / "helpers"


@dataclass(frozen=True)
class Servers:
    """The servers that a run stands on: URLs of messages and shared state, and the processes to measure."""

    broker: str
    control: str
    pids: Mapping[str, int]


@contextlib.contextmanager
def servers(kind: str, folder: Path, url: str | None = None) -> Iterator[Servers]:
    """Starts what a run of ``kind`` needs; the shared state is always on a Valkey of its own.

    RabbitMQ is the one on this machine (``rabbitmq-server`` of Debian), started as the tests do it.

    Args:
        kind: of ``BROKERS``.
        folder: for their files.
        url: of a broker that runs already, and is not measured.
    """
    with contextlib.ExitStack() as stack:
        valkey = stack.enter_context(EmbeddedBroker(folder / "valkey"))
        pids = {"valkey": valkey.pid or 0}
        if url is not None:
            yield Servers(url, valkey.url, pids)
        elif kind == "redis":
            yield Servers(valkey.url, valkey.url, pids)
        else:
            if str(HELPERS) not in sys.path:
                sys.path.append(str(HELPERS))
            from rabbitmq_server import RabbitMQ

            rabbit = stack.enter_context(RabbitMQ(folder / "rabbitmq"))
            yield Servers(rabbit.url, valkey.url, {**pids, "rabbitmq": rabbit.pid})
