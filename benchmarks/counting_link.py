"""A wire in front of a server on this machine that counts what passes, each way for itself."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

PIECE = 65536


class CountingLink:
    """Forwards TCP connections to ``port``.

    Attributes:
        port: to connect to instead.
        up: bytes that went to the server.
        down: bytes that came from it.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.up = self.down = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # the end of the ``with``
            far = socket.create_connection(("127.0.0.1", self._to))
            for source, target, name in ((near, far, "up"), (far, near, "down")):
                threading.Thread(target=self._forward, args=(source, target, name), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, name: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                target.sendall(data)
                with self._lock:
                    setattr(self, name, getattr(self, name) + len(data))
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
