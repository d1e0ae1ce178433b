"""One worker process for each slot of this machine's GPUs: started, started again, and ended together."""

import logging
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from broker.settings import Settings
from workers.gpu_slots import plan_slots, require_gpu_queues
from workers.process import check_broker, parse_queues
from workers.supervisor import RESTARTS, STEADY_SECONDS, Supervisor, WorkerDied, WorkerProcess

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
"""Between two looks at the processes and at the signals."""
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 1.0, 60.0
"""Before a process that has died is started again: the first time, and at most; doubled each time in a row.
A GPU that has fallen off its bus is tried each minute, while the others work."""
COLD_SECONDS = 30.0
"""After SIGQUIT, in which a worker gives back its message and ends its pool."""


def serve_gpus(settings: Settings, queues: Sequence[str], name: str | None = None) -> None:
    """Serves ``queues`` with one process for each slot, until this one is told to stop.

    SIGTERM and SIGINT let each finish its segment; a second one, or SIGQUIT, has them give it back at once.

    Args:
        settings: with the GPUs, the processes on each and their memory.
        queues: whose models compute on a GPU.
        name: in front of the workers' names, in place of the first queue.

    Raises:
        SettingsError: a queue that no placement can have or that has no use for a GPU; see ``plan_slots``.
        NoProvider: a GPU is not here, or has not the memory.
        BrokerRefuses, BrokerUntrusted: waiting for the broker would not help.
        WorkerDied: all of them die again and again, or one did not end in order.
    """
    names = parse_queues(queues)
    require_gpu_queues(settings, names)
    slots = plan_slots(settings)
    check_broker(settings)
    with _signals() as asked:
        supervisor = Supervisor(settings, logs_apart=False, repairs=True)
        host = GpuHost(supervisor)
        try:
            for slot in slots:
                supervisor.start_worker(names, slot=slot, name=name or names[0])
            while not asked:
                host.mend()
                time.sleep(LOOK_SECONDS)
            host.finish(asked)
        finally:
            supervisor.stop()


@dataclass
class GpuHost:
    """The processes of one machine's GPUs."""

    supervisor: Supervisor
    _due: dict[str, float] = field(default_factory=dict)
    """Of those that have died: when each is started again (``time.monotonic``)."""

    def mend(self) -> None:
        """Starts again what has died, each in its time.

        Raises:
            WorkerDied: every one of them has, time after time.
        """
        dead = [worker for worker in self.supervisor.workers if worker.process.poll() is not None]
        for worker in dead:
            if worker.name not in self._due:
                self._note(worker)
            elif time.monotonic() >= self._due[worker.name]:
                del self._due[worker.name]
                self.supervisor.start_again(worker)
        if len(dead) == len(self.supervisor.workers) and all(w.restarts >= RESTARTS for w in dead):
            raise WorkerDied(
                f"All {len(dead)} workers of the GPUs ended {RESTARTS + 1} times or more.", dead[0].why()
            )

    def _note(self, worker: WorkerProcess) -> None:
        if time.monotonic() - worker.started > STEADY_SECONDS:
            worker.restarts = 0
        pause = min(FIRST_PAUSE_SECONDS * 2**worker.restarts, MOST_PAUSE_SECONDS)
        self._due[worker.name] = time.monotonic() + pause
        # What it has left of its pool would keep the memory of the GPU.
        worker.signal(signal.SIGKILL)
        log.error(
            "worker %s ended with status %s, starting it again in %.0f s",
            worker.name,
            worker.process.returncode,
            pause,
        )

    def finish(self, asked: Sequence[int]) -> None:
        """Ends all of them, in order for as long as their segments take.

        Args:
            asked: the signals so far; it grows while this waits.

        Raises:
            WorkerDied: one that was at work ended with an error, though nobody insisted.
        """
        told = self._alive()  # the end of any other is in the log already
        self._tell(signal.SIGTERM)
        while self._alive() and not _insisted(asked):
            time.sleep(LOOK_SECONDS)
        if self._alive():
            self._tell(signal.SIGQUIT)
            deadline = time.monotonic() + COLD_SECONDS
            while self._alive() and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
        if _insisted(asked):
            return
        # Only one that has not begun to serve leaves SIGTERM to do what it does by itself.
        in_order = (0, -signal.SIGTERM)
        failed = [worker for worker in told if worker.process.returncode not in in_order]
        if failed:
            ends = ", ".join(f"{worker.name}: status {worker.process.returncode}" for worker in failed)
            raise WorkerDied(f"Not every worker ended in order ({ends}).", failed[0].why())

    def _tell(self, chosen: signal.Signals) -> None:
        for worker in self._alive():
            worker.signal(chosen)

    def _alive(self) -> list[WorkerProcess]:
        return [worker for worker in self.supervisor.workers if worker.process.poll() is None]


def _insisted(asked: Sequence[int]) -> bool:
    return len(asked) > 1 or signal.SIGQUIT in asked


@contextmanager
def _signals() -> Iterator[list[int]]:
    """While inside, signals that ask for an end are gathered: an exception would cut a start in half."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        asked.append(number)

    chosen = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
    before = {number: signal.signal(number, ask) for number in chosen}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
