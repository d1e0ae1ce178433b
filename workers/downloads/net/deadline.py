"""Ends connections when the time is up, whatever their other side does meanwhile."""

import contextlib
import socket
import threading
from typing import Any


class Deadline:
    """A context manager; shuts down what it has been shown, ``seconds`` after it was entered.

    A timeout of one read does not help against a server that sends a byte of its headers every 29 s: that
    is an answer each time.

    Example:
        >>> with Deadline(60.0) as deadline:
        ...     client.get(url, extensions={"trace": deadline.trace})
    """

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._over = False
        self._timer = threading.Timer(max(seconds, 0.0), self._end)
        self._timer.daemon = True

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._timer.cancel()
        self._timer.join()  # no connection that comes later may have the number of one that is shut down

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """For httpcore's extension ``trace``: takes each new connection in."""
        if event not in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            return
        with self._lock:
            self._sockets = [info["return_value"].get_extra_info("socket")]  # one connection at a time
            if self._over:
                self._shut()

    def _end(self) -> None:
        with self._lock:
            self._over = True
            self._shut()

    def _shut(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):  # it is closed already
                # Not SSLSocket's own: that drops the session under the hands of whoever reads.
                socket.socket.shutdown(one, socket.SHUT_RDWR)
