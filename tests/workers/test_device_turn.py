"""The lock of the processes that share a device: one at a time, freed by a death, no wait without an end.

And who needs none: a network on the processor, where there are cores for each process.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from broker.recipe import ModelSpec
from workers import process
from workers.device_turn import DeviceTurn, OwnCore
from workers.devices.description import DeviceDescription


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


def test_with_cores_of_their_own_two_are_at_work_together() -> None:
    turn = OwnCore()
    here, there = os.pipe(), os.pipe()

    def meet() -> None:
        with turn.taken():
            os.write(there[1], b"!")
            os.read(here[0], 1)

    pid = forked(meet)
    with turn.taken():
        assert os.read(there[0], 1) == b"!"  # inside its turn, while we are inside ours
        os.write(here[1], b"!")
    os.waitpid(pid, 0)
    assert turn.waited == 0.0


NETWORK = {"spec": ModelSpec(name="litert", version="1"), "model": Path("me.tflite")}


@pytest.mark.parametrize(
    ("said", "tested", "threads", "own"),
    [
        (NETWORK, {}, 1, True),
        (NETWORK, {}, 2, True),
        (NETWORK, {}, 3, False),  # six threads on four cores: one network at a time is faster
        (NETWORK | {"processes": 4}, {}, 1, True),
        (NETWORK | {"processes": 4}, {}, 2, False),
        (NETWORK | {"delegate": "libnpu.so"}, {}, 1, False),
        (NETWORK, {"on_gpu": True}, 1, False),
        ({"spec": ModelSpec(name="http", version="1")}, {}, 1, False),
    ],
)
def test_who_needs_no_turns(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, object], tested: dict[str, bool], threads: int, own: bool
) -> None:
    monkeypatch.setattr(process, "cores", lambda: 4)
    description = DeviceDescription(**{"path": Path("me.toml"), "processes": 2, **said})
    assert process.has_own_cores(description, tested, threads) is own
    assert not process.has_own_cores(None, tested, threads)
