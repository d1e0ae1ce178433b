"""A device that several processes of one worker drive is used by one of them at a time."""

import fcntl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager


class DeviceTurn:
    """A lock of the worker's processes; made before they are forked, they inherit it.

    The kernel frees it when its holder dies. It has no name that anybody else could take or leave behind.
    """

    def __init__(self) -> None:
        self.waited = 0.0
        """Seconds that this process has waited for its turns, all in all."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process

    @contextmanager
    def taken(self) -> Iterator[None]:
        """The device is this process's alone inside the ``with``; not for several threads of one process.

        A signal handler that raises, as that of the soft time limit does, ends the waiting.
        """
        started = time.perf_counter()
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            self.waited += time.perf_counter() - started
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)  # harmless where it was never had
