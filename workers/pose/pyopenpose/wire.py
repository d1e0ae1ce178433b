"""Our end of the pipe to OpenPose's process: whole pieces of bytes, each wait with an end."""

import os
import select
import time
from typing import IO

PIECE = 1 << 20


class Wire:
    """Two pipes, written and read without buffers.

    Args:
        sink: to write to; is set not to block.
        source: to read from.
    """

    def __init__(self, sink: IO[bytes], source: IO[bytes]) -> None:
        self._sink, self._source = sink.fileno(), source.fileno()
        os.set_blocking(self._sink, False)
        self._writable, self._readable = select.poll(), select.poll()
        self._writable.register(self._sink, select.POLLOUT)
        self._readable.register(self._source, select.POLLIN)

    def write(self, data: "bytes | memoryview", deadline: float) -> None:
        """Writes all of ``data``.

        Raises:
            TimeoutError: not done at ``deadline``, in seconds of the monotonic clock.
            OSError: nobody reads any more.
        """
        rest = memoryview(data).cast("B")
        while rest:
            _wait(self._writable, deadline)
            rest = rest[os.write(self._sink, rest[:PIECE]) :]

    def read(self, size: int, deadline: float) -> bytes:
        """``size`` bytes.

        Raises:
            TimeoutError: not all are here at ``deadline``.
            OSError: the other end has closed.
        """
        data = bytearray()
        while len(data) < size:
            _wait(self._readable, deadline)
            piece = os.read(self._source, min(size - len(data), PIECE))
            if not piece:
                raise BrokenPipeError
            data += piece
        return bytes(data)


def _wait(ready: "select.poll", deadline: float) -> None:
    if not ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
