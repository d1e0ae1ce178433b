"""Starts worker processes on this machine, starts again those that die, and ends what it started."""

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from broker.errors import Action, HardposeError
from broker.presence import worker_key
from broker.settings import TOKENS_VARIABLE, Settings
from workers.gpu_slots import Slot

log = logging.getLogger(__name__)

DEVICE_VARIABLE = "HARDPOSE_DEVICE"
RESTARTS = 5
"""Deaths of one worker in a row that are mended; one more and the run is ended with the reason."""
STEADY_SECONDS = 300
"""A worker that has lived this long does not die "in a row" any more."""

PR_SET_PDEATHSIG = 1
OTHERS_SECRETS = ("HARDPOSE_DOWNLOAD_PROXY", "HARDPOSE_DOWNLOAD_COOKIES", "HARDPOSE_FLOWER_AUTH")
"""Which the HTTP API has no use for."""


class WorkerDied(HardposeError):
    """A worker process ends again and again."""

    code = "worker_died"
    action = Action.PERMANENT


@dataclass
class WorkerProcess:
    """A worker that serves some queues, and the log that it writes."""

    arguments: list[str]
    name: str
    log_file: Path | None
    """None: it writes where its parent writes."""
    process: "subprocess.Popen[bytes]"
    essential: bool = True
    """Whether the system is of no use without it."""
    tokens: bool = False
    """Whether it gets the tokens of the HTTP API."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of its own, before those of the settings."""
    restarts: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def announced_as(self) -> str:
        """The key of the card that the worker hands in when it is ready."""
        return worker_key(socket.gethostname(), self.process.pid)

    def why(self, lines: int = 8) -> str:
        """Where the reason of its end is to be read, with the last lines of its log."""
        if self.log_file is None:
            return "Its log is above, between those of the others."
        return f"Its log {self.log_file} ends with:\n{self._tail(self.log_file, lines)}"

    def signal(self, chosen: signal.Signals) -> None:
        """TERM and QUIT go to the worker alone, which ends its pool in order; KILL to all of its session."""
        pid = self.process.pid
        try:
            if chosen == signal.SIGKILL:
                os.killpg(pid, chosen)
            else:
                os.kill(pid, chosen)
        except ProcessLookupError:
            log.debug("process %s is gone already", pid)

    @staticmethod
    def _tail(log_file: Path, lines: int) -> str:
        return "\n".join(log_file.read_text(errors="replace").splitlines()[-lines:])


@dataclass
class Supervisor:
    """The worker processes of one ``hardpose run`` or ``hardpose up``, or of one machine's GPUs.

    Every child gets a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone and
    it can end them in the right order; on Linux they also end when the supervisor is killed.
    """

    settings: Settings
    workers: list[WorkerProcess] = field(default_factory=list)
    logs_apart: bool = True
    """Whether each has a log of its own, in ``logs``; else all write where this process writes."""
    repairs: bool = False
    """Whether they look for lost messages themselves, because their supervisor does not."""

    @property
    def logs(self) -> Path:
        """The folder of the workers' logs."""
        return self.settings.home / "logs"

    def start_worker(
        self,
        queues: Sequence[str],
        device: Path | None = None,
        slot: Slot | None = None,
        name: str | None = None,
    ) -> WorkerProcess:
        """Starts one worker process for ``queues``.

        Args:
            queues: that it serves.
            device: the page of the device that it drives, if it is to drive one.
            slot: what it has of a GPU, if the settings do not say it of all.
            name: in place of the queues'.
        """
        number = sum(w.name.startswith("+".join(queues)) for w in self.workers)
        name = name or "+".join(queues) + (f"-{number + 1}" if number and slot is None else "")
        name += f"-{slot.label}" if slot is not None and slot.label else ""
        driven = ["--device", str(device.absolute())] if device is not None else []
        pinned = ["--gpu", slot.gpu] if slot is not None else []
        line = [*hardpose_command(), "worker", *queues, "--name", name, *driven, *pinned]
        return self.start_program(line, name, variables=self._own(slot))

    def _own(self, slot: Slot | None) -> dict[str, str]:
        """What the settings say of all workers together is told each of itself."""
        variables = {}
        if slot is not None:
            variables["HARDPOSE_GPU_SLOTS"] = "1"
        if slot is not None and slot.memory is not None:
            variables["HARDPOSE_GPU_MEMORY"] = str(slot.memory)
        if self.settings.metrics_port:
            variables["HARDPOSE_METRICS_PORT"] = str(self.settings.metrics_port + len(self.workers))
        return variables

    def start_program(
        self,
        arguments: list[str],
        name: str,
        essential: bool = True,
        tokens: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> WorkerProcess:
        """Starts any program of ours under the same care.

        Args:
            arguments: its command line.
            name: of its log.
            essential: one that is not may die for good.
            tokens: whether it is the HTTP API: it gets its tokens, and no secrets of others.
            variables: of its own, before those of the settings.
        """
        log_file = self.logs / f"{name}.log" if self.logs_apart else None
        own = {**({} if self.repairs else {"HARDPOSE_REPAIRS": "false"}), **(variables or {})}
        process = self._spawn(arguments, log_file, tokens, own)
        worker = WorkerProcess(arguments, name, log_file, process, essential, tokens, own)
        self.workers.append(worker)
        return worker

    def _spawn(
        self, arguments: list[str], log_file: Path | None, tokens: bool, variables: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        inherited = {name: value for name, value in os.environ.items() if name != TOKENS_VARIABLE}
        environment = {**inherited, **self.settings.environment(tokens), **variables}
        environment.pop(DEVICE_VARIABLE, None)  # the worker that drives one is told by its command line
        if tokens:
            environment = {name: v for name, v in environment.items() if name not in OTHERS_SECRETS}
        with _opened(log_file) as output:
            return subprocess.Popen(  # noqa: S603 - our own program, a list of arguments, no shell
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )

    def mend(self) -> list[str]:
        """Starts again what has died; returns their names.

        Raises:
            WorkerDied: when an essential one dies too often, with the end of its log.
        """
        dead = [worker for worker in self.workers if worker.process.poll() is not None]
        return [worker.name for worker in dead if self._mend(worker)]

    def _mend(self, worker: WorkerProcess) -> bool:
        code = worker.process.returncode
        if time.monotonic() - worker.started > STEADY_SECONDS:
            worker.restarts = 0
        if worker.restarts >= RESTARTS:
            died = WorkerDied(
                f"The worker {worker.name} ended {RESTARTS + 1} times (exit status {code}).",
                worker.why(),
            )
            if worker.essential:
                raise died
            log.warning("doing without %s: %s", worker.name, died)
            self.workers.remove(worker)
            return False
        log.warning("worker %s ended with status %s, starting it again", worker.name, code)
        self.start_again(worker)
        return True

    def start_again(self, worker: WorkerProcess) -> None:
        """Starts anew what has died, and ends what it has left."""
        # A pool process may have outlived its parent; two would share its memory and its GPU.
        worker.signal(signal.SIGKILL)
        worker.process = self._spawn(worker.arguments, worker.log_file, worker.tokens, worker.variables)
        worker.started = time.monotonic()
        worker.restarts += 1

    def stop(self, patience: float = 5.0) -> None:
        """Ends every worker: asks, then insists (SIGQUIT gives messages back), then kills the session."""
        for chosen, wait in ((signal.SIGTERM, patience), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 5.0)):
            alive = [w for w in self.workers if w.process.poll() is None]
            for worker in alive:
                worker.signal(chosen)
            deadline = time.monotonic() + wait
            for worker in alive:
                try:
                    worker.process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    log.info("worker %s still runs after %s", worker.name, chosen.name)
        self.workers.clear()


def hardpose_command() -> list[str]:
    """The command line of this very installation, whatever is on PATH.

    ``-P``: a folder that the user works in may hold an ``api.py`` or ``tasks.py``, which is not ours.
    """
    return [sys.executable, "-P", "-m", "api.cli"]


@contextmanager
def _opened(log_file: Path | None) -> Iterator[IO[bytes] | None]:
    """The end of a log; None stands for what this process itself writes to."""
    if log_file is None:
        yield None
        return
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as output:
        yield output


def _end_with_parent() -> None:
    """Runs in the child before exec: SIGTERM when the thread that started it ends (Linux prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
