"""The lock of the processes that share a device: one at a time, freed by a death, no wait without an end."""

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

import pytest

from workers.device_turn import DeviceTurn


def forked(work: Callable[[], None]) -> int:
    """A process that does ``work`` and ends; its id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def holder(turn: DeviceTurn) -> int:
    """A process that has taken its turn and never ends it."""
    reader, writer = os.pipe()

    def hold() -> None:
        with turn.taken():
            os.write(writer, b"!")
            time.sleep(600)

    pid = forked(hold)
    assert os.read(reader, 1) == b"!"
    return pid


def test_processes_that_inherit_it_are_never_in_their_turns_together() -> None:
    turn = DeviceTurn()
    reader, writer = os.pipe()

    def work() -> None:
        for _ in range(20):
            with turn.taken():
                os.write(writer, b"(")
                time.sleep(0.001)
                os.write(writer, b")")

    workers = [forked(work) for _ in range(3)]
    for pid in workers:
        os.waitpid(pid, 0)
    assert os.read(reader, 1000) == b"()" * 60


def test_a_turn_whose_process_is_killed_is_over() -> None:
    turn = DeviceTurn()
    pid = holder(turn)
    os.kill(pid, signal.SIGKILL)
    with turn.taken():
        pass  # else it waits for as long as the other would have slept: longer than this test may take
    os.waitpid(pid, 0)


def test_a_signal_ends_the_waiting_and_the_next_turn_is_waited_for_as_ever() -> None:
    class SoftTimeLimit(Exception):
        pass

    def handler(number: int, frame: FrameType | None) -> None:
        raise SoftTimeLimit

    turn = DeviceTurn()
    pid = holder(turn)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(2):
            with pytest.raises(SoftTimeLimit):
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                with turn.taken():
                    pytest.fail("two have their turn")
    finally:
        signal.signal(signal.SIGALRM, before)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
