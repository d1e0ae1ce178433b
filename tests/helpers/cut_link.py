"""A cable in front of a server on 127.0.0.1 that can be frozen (nothing passes, nobody is told) or torn."""

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

PIECE = 65536


class Link:
    """Forwards TCP connections to ``port``, each direction in a thread; ``passed`` counts their bytes.

    Args:
        port: of the server.
        host: the same.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._to = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.frozen = threading.Event()
        self.deaf = threading.Event()
        """What the server says does not arrive; it hears everything."""
        self.deafening = b""
        """Once the server says this, nothing that it says arrives, this included."""
        self.passed = 0
        self.tear_at = 0
        """What is said as the so manieth from now on does not arrive: the link is torn. 0: it is not."""
        self._ends: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.frozen.clear()
        self.deaf.clear()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.tear()

    def tear(self) -> None:
        """Ends every connection; new ones pass."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):  # it has ended by itself
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._hold(self.frozen)
            try:
                far = socket.create_connection(self._to)
            except OSError:
                near.close()
                continue
            self._ends += [near, far]
            threading.Thread(target=self._forward, args=(near, far, self.frozen), daemon=True).start()
            both = (self.frozen, self.deaf)
            threading.Thread(target=self._forward, args=(far, near, *both), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, *holds: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                if self.deafening and self.deafening in data and self.deaf in holds:
                    self.deaf.set()
                self._hold(*holds)
                if self.tear_at:
                    self.tear_at -= 1
                    if not self.tear_at:
                        self.tear()
                        break
                target.sendall(data)
                self.passed += len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def _hold(self, *events: threading.Event) -> None:
        while any(event.is_set() for event in events):
            time.sleep(0.01)
