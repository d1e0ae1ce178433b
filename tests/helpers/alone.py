"""Tests whose claims are about seconds run with the machine to themselves, whichever process runs the others.

Every test holds a lock: most of them together, those marked ``alone`` each for itself, from the first to the
last of a module. Who waits for it closes a gate first, so that those who come later do not pass it by.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO


def _open(name: str) -> IO[bytes]:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"alone-{os.getpid()}")
    return (Path(tempfile.gettempdir()) / f"hardpose-tests-{run}.{name}").open("ab")


def no_other_process() -> bool:
    """Whether this process alone runs the tests, on a machine whose cores are known: not those of a CI."""
    return os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1") == "1" and not os.environ.get("CI")


class Turns:
    """The turns of one of the processes that run the tests."""

    def __init__(self) -> None:
        self._alone = False

    @cached_property
    def _gate(self) -> IO[bytes]:
        return _open("gate")

    @cached_property
    def _lock(self) -> IO[bytes]:
        return _open("lock")

    @contextmanager
    def turn(self, alone: bool, goes_on: bool) -> Iterator[None]:
        """Holds the lock; afterwards too if ``goes_on``: if the next test here runs alone as well."""
        if not self._alone:
            fcntl.flock(self._gate, fcntl.LOCK_EX)
            fcntl.flock(self._lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            self._alone = alone and goes_on
            if not self._alone:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def end(self) -> None:
        """Removes the files: whoever has them open goes on with them."""
        for file in (self._gate, self._lock):
            Path(file.name).unlink(missing_ok=True)
            file.close()
