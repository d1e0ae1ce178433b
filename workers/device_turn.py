"""A device that several processes of one worker drive: used by one at a time, or each has its own."""

import fcntl
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol


class Turn(Protocol):
    """When a process of several may use the device.

    Attributes:
        waited: seconds that this process has waited for its turns, all in all.
        most_bytes: of prepared pictures that are read before a turn.
    """

    waited: float
    most_bytes: int

    def taken(self) -> AbstractContextManager[None]:
        """The device may be used inside the ``with``; not for several threads of one process."""
        ...


class OwnCore:
    """The device is a network on the processor, and each process has it on cores of its own: no waiting."""

    waited = 0.0
    most_bytes = 0
    """Each picture is shown while it lies in the core's cache."""

    def taken(self) -> AbstractContextManager[None]:
        """At once. See ``Turn``."""
        return nullcontext()


class DeviceTurn:
    """A lock of the worker's processes; made before they are forked, they inherit it.

    The kernel frees it when its holder dies. It has no name that anybody else could take or leave behind.
    """

    most_bytes = 16 * 1024**2
    """21 of 256 x 256: the device waits a moment at each change of turns."""

    def __init__(self) -> None:
        self.waited = 0.0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process

    @contextmanager
    def taken(self) -> Iterator[None]:
        """The device is this process's alone inside the ``with``. See ``Turn``.

        A signal handler that raises, as that of the soft time limit does, ends the waiting.
        """
        started = time.perf_counter()
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            self.waited += time.perf_counter() - started
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)  # harmless where it was never had
