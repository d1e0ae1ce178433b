"""Being told to stop: signals set a flag, and the loops look at it."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class Interrupted(Exception):
    """The user or the system asked to stop; nothing is lost."""


@dataclass
class StopFlag:
    """Set by SIGINT or SIGTERM. A flag, not an exception, so that no write is cut in half."""

    asked: bool = False

    def check(self) -> None:
        """Raises ``Interrupted`` once a stop was asked for."""
        if self.asked:
            raise Interrupted


def end_well_on_sigterm() -> None:
    """From now on SIGTERM ends this process in order and with status 0, until something else takes it over.

    Without it a process that is still starting, or a server that has ended its work, seems to have failed;
    and as process 1 of a container it would not even hear (pid_namespaces(7)), and be killed at its work.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """While inside, SIGINT and SIGTERM set the flag."""
    flag = StopFlag()

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        flag.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
