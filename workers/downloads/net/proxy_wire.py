"""HTTP/1.1 heads and byte tunnels over sockets: what a small proxy needs of the protocol (RFC 9112)."""

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

MAX_HEAD = 64 * 1024
"""Bytes of a request's or an answer's head; YouTube's longest are about 4 KiB."""
_CHUNK = 256 * 1024
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"}
    | {"te", "trailer", "upgrade", "expect"}
)
"""Headers for one connection only (RFC 9110, 7.6.1), and ``Expect``, which a body that is sent anyway
needs no answer to."""


class WireError(Exception):
    """What came is not HTTP/1.1, too long, or too slow.

    Args:
        status: the HTTP status that answers it.
        reason: short.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Head:
    """Start line and headers of a message, and the bytes of its body that came along."""

    start: tuple[str, str, str]
    headers: tuple[tuple[str, str], ...]
    rest: bytes

    def values(self, name: str) -> list[str]:
        """All values of a header; ``name`` in lower case."""
        return [value for key, value in self.headers if key.lower() == name]

    def passed_on(self) -> list[tuple[str, str]]:
        """The headers without those of one connection only."""
        named = {part.strip().lower() for value in self.values("connection") for part in value.split(",")}
        return [(key, value) for key, value in self.headers if key.lower() not in HOP_BY_HOP | named]

    def body_length(self) -> int:
        """Bytes of a request's body.

        Raises:
            WireError: it is not told beforehand, or told twice: two readers could see two different ends.
        """
        lengths = self.values("content-length")
        if self.values("transfer-encoding"):
            raise WireError(411, "a body without Content-Length")
        if len(lengths) > 1 or any(not (v.isascii() and v.isdigit() and len(v) < 16) for v in lengths):
            raise WireError(400, "Content-Length")
        return int(lengths[0]) if lengths else 0


def read_head(sock: socket.socket, seconds: float, first: bytes = b"") -> Head | None:
    """Reads up to the empty line.

    Args:
        sock: to read from.
        seconds: for all of it, not for one byte.
        first: bytes of it that are here already.

    Returns:
        None if the other side closed before the first byte.

    Raises:
        WireError: too long (431), too slow (408) or not HTTP/1.x (400).
        OSError: the connection broke.
    """
    deadline = time.monotonic() + seconds
    data = first
    while b"\r\n\r\n" not in data:
        if len(data) > MAX_HEAD:
            raise WireError(431, "head too long")
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            more = sock.recv(8192)
        except TimeoutError:
            raise WireError(408, "head too slow") from None
        if not more:
            if not data:
                return None
            raise WireError(400, "head cut off")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return _parse(head.decode("latin-1"), rest)


def _parse(text: str, rest: bytes) -> Head:
    first, *lines = text.split("\r\n")
    start = first.split(" ", 2)
    if len(start) == 2 and start[0].startswith("HTTP/"):
        start.append("")  # a status line without its reason
    if len(start) != 3 or not any(part.startswith("HTTP/1.") for part in (start[0], start[2])):
        raise WireError(400, "start line")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        # Folded lines, bare line ends and spaces before the colon are read differently by different servers.
        if not colon or not name or name != name.strip() or any(c in line for c in "\r\n\0"):
            raise WireError(400, "header line")
        headers.append((name, value.strip(" \t")))
    return Head((start[0], start[1], start[2]), tuple(headers), rest)


def head_bytes(start: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """A head as it goes over the wire; this side's connections are for one message each."""
    lines = [start, *(f"{name}: {value}" for name, value in headers), "Connection: close"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def send_body(source: socket.socket, target: socket.socket, first: bytes, length: int, idle: float) -> None:
    """Passes on a body of exactly ``length`` bytes, ``first`` being those that are here already."""
    source.settimeout(idle)
    target.settimeout(idle)
    target.sendall(first[:length])
    left = length - len(first)
    while left > 0:
        data = source.recv(min(left, _CHUNK))
        if not data:
            raise WireError(400, "body cut off")
        target.sendall(data)
        left -= len(data)


def tunnel(one: socket.socket, other: socket.socket, idle: float) -> None:
    """Copies bytes both ways until both sides have closed, or both were silent for ``idle`` seconds."""
    one.settimeout(idle)
    other.settimeout(idle)
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while selector.get_map() and (ready := selector.select(idle)):
            for key, _ in ready:
                source: socket.socket = key.fileobj  # type: ignore[assignment]
                if not _copy(source, key.data):
                    selector.unregister(source)


def drain(source: socket.socket, target: socket.socket, idle: float) -> None:
    """Copies one way until ``source`` has closed."""
    source.settimeout(idle)
    target.settimeout(idle)
    while _copy(source, target):
        pass


def linger(sock: socket.socket, seconds: float = 1.0) -> None:
    """Says that nothing more comes, and takes in what is under way: closing before would destroy the answer.

    Args:
        sock: whose answer has been sent.
        seconds: at most; and at most 1 MiB.
    """
    sock.shutdown(socket.SHUT_WR)
    deadline, left = time.monotonic() + seconds, 1024**2
    while left > 0 and (remaining := deadline - time.monotonic()) > 0:
        sock.settimeout(remaining)
        data = sock.recv(min(left, _CHUNK))
        if not data:
            return
        left -= len(data)


def _copy(source: socket.socket, target: socket.socket) -> bool:
    data = source.recv(_CHUNK)
    if data:
        target.sendall(data)
    else:
        target.shutdown(socket.SHUT_WR)
    return bool(data)
