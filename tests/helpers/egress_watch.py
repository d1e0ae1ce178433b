"""When an egress has granted, and when its breaker opened: by the clock of the server that decides both.

What a site sees is late by however long a tool needs to start; what the server has decided is not.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

_STEP = re.compile(
    r'^\+(?P<time>\d+\.\d+) \[\d+ lua\] "(?P<command>HINCRBY|HSET|HDEL)"'
    r' "(?P<key>[^"]*:egress:[^"]*|egress:[^"]*)" "(?P<field>[^"]*)"(?: "(?P<value>[^"]*)")?'
)
"""A step of a script in the stream of MONITOR; a script is one step to everybody else."""


@dataclass(frozen=True)
class Opening:
    """The breaker opened, until (both in seconds of the server's clock)."""

    time: float
    until: float


class EgressWatch:
    """What MONITOR has told, raw: it is read while workers are busy, and understood afterwards."""

    def __init__(self) -> None:
        self._raw = bytearray()

    def read(self, link: Any) -> None:
        """Reads until the link is closed."""
        while piece := _piece(link):
            self._raw += piece

    def grants(self, identity: str) -> list[float]:
        """Times at which ``identity`` was granted a video."""
        return [float(s["time"]) for s in self._steps(identity, "minutes") if s["command"] == "HINCRBY"]

    def openings(self, identity: str) -> list[Opening]:
        """The times for which the site was to be left alone."""
        return [
            Opening(float(s["time"]), float(s["value"]))
            for s in self._steps(identity, "state")
            if (s["command"], s["field"]) == ("HSET", "until")
        ]

    def _steps(self, identity: str, part: str) -> Iterator[re.Match[str]]:
        for line in self._raw.decode(errors="replace").splitlines():
            step = _STEP.match(line)
            if step and step["key"].endswith(f"egress:{identity}:{part}"):
                yield step


@contextmanager
def watched_egress(url: str) -> Iterator[EgressWatch]:
    """Listens from the moment that it is given until the end."""
    watch = EgressWatch()
    server = redis.Redis.from_url(url)
    connection: Any = server.connection_pool.get_connection()
    connection.send_command("MONITOR")
    assert connection.read_response() == b"OK"
    link = connection._sock  # the library's reader understands every line: far slower than they come
    link.settimeout(None)
    reader = threading.Thread(target=watch.read, args=(link,), daemon=True)
    reader.start()
    try:
        yield watch
    finally:
        connection.disconnect()
        reader.join(10)
        server.close()


def _piece(link: Any) -> bytes:
    try:
        return bytes(link.recv(1 << 16))
    except OSError:  # closed
        return b""
