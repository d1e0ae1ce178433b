"""Starts worker processes on this machine, starts again those that die, and ends what it started."""

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker.errors import Action, HardposeError
from broker.presence import worker_key
from broker.settings import TOKENS_VARIABLE, Settings

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
    log_file: Path
    process: "subprocess.Popen[bytes]"
    essential: bool = True
    """Whether the system is of no use without it."""
    tokens: bool = False
    """Whether it gets the tokens of the HTTP API."""
    restarts: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def announced_as(self) -> str:
        """The key of the card that the worker hands in when it is ready."""
        return worker_key(socket.gethostname(), self.process.pid)

    def log_tail(self, lines: int = 8) -> str:
        """The last lines of its log."""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])


@dataclass
class Supervisor:
    """The worker processes of one ``hardpose run`` or ``hardpose up``.

    Every child gets a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone and
    it can end them in the right order; on Linux they also end when the supervisor is killed.
    """

    settings: Settings
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def logs(self) -> Path:
        """The folder of the workers' logs."""
        return self.settings.home / "logs"

    def start_worker(self, queues: Sequence[str], device: Path | None = None) -> WorkerProcess:
        """Starts one worker process for ``queues``.

        Args:
            queues: that it serves.
            device: the page of the device that it drives, if it is to drive one.
        """
        number = sum(w.name.startswith("+".join(queues)) for w in self.workers)
        name = "+".join(queues) + (f"-{number + 1}" if number else "")
        driven = ["--device", str(device.absolute())] if device is not None else []
        return self.start_program([*hardpose_command(), "worker", *queues, "--name", name, *driven], name)

    def start_program(
        self, arguments: list[str], name: str, essential: bool = True, tokens: bool = False
    ) -> WorkerProcess:
        """Starts any program of ours under the same care.

        Args:
            arguments: its command line.
            name: of its log.
            essential: one that is not may die for good.
            tokens: whether it is the HTTP API: it gets its tokens, and no secrets of others.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        log_file = self.logs / f"{name}.log"
        process = self._spawn(arguments, log_file, tokens)
        worker = WorkerProcess(arguments, name, log_file, process, essential, tokens)
        self.workers.append(worker)
        return worker

    def _spawn(self, arguments: list[str], log_file: Path, tokens: bool) -> "subprocess.Popen[bytes]":
        inherited = {name: value for name, value in os.environ.items() if name != TOKENS_VARIABLE}
        environment = {**inherited, **self.settings.environment(tokens)}
        environment.pop(DEVICE_VARIABLE, None)  # the worker that drives one is told by its command line
        if tokens:
            environment = {name: v for name, v in environment.items() if name not in OTHERS_SECRETS}
        with log_file.open("ab") as output:
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
                f"Its log {worker.log_file} ends with:\n{worker.log_tail()}",
            )
            if worker.essential:
                raise died
            log.warning("doing without %s: %s", worker.name, died)
            self.workers.remove(worker)
            return False
        log.warning("worker %s ended with status %s, starting it again", worker.name, code)
        # A pool process may have outlived its parent; two would share its memory and its GPU.
        _signal_session(worker.process.pid, signal.SIGKILL)
        worker.process = self._spawn(worker.arguments, worker.log_file, worker.tokens)
        worker.started = time.monotonic()
        worker.restarts += 1
        return True

    def stop(self, patience: float = 5.0) -> None:
        """Ends every worker: asks, then insists (SIGQUIT gives messages back), then kills the session."""
        for chosen, wait in ((signal.SIGTERM, patience), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 5.0)):
            alive = [w for w in self.workers if w.process.poll() is None]
            for worker in alive:
                _signal_session(worker.process.pid, chosen)
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


def _signal_session(pid: int, chosen: signal.Signals) -> None:
    """TERM and QUIT go to the worker alone, which ends its pool in order; KILL goes to all of its session."""
    try:
        if chosen == signal.SIGKILL:
            os.killpg(pid, chosen)
        else:
            os.kill(pid, chosen)
    except ProcessLookupError:
        log.debug("process %s is gone already", pid)


def _end_with_parent() -> None:
    """Runs in the child before exec: SIGTERM when the thread that started it ends (Linux prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
