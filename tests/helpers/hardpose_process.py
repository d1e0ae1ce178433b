"""Runs the real ``hardpose`` command in a process of its own, as a user does."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from api.http.whereabouts import running
from broker.catalog import Catalog
from broker.connection import Connection
from broker.views import JobView

TOGETHER = {"HARDPOSE_PLACEMENT": "pose+mask+me+compare"}
"""Two worker processes, not five, for what has nothing to do with the placement: 8 s of CPU time a run."""


PATIENCE_SECONDS = 300.0
"""For whatever has to come about: to wait costs nothing where it does, and a machine may be very busy."""


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Waits until ``condition()`` holds; a time-out fails the test."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def gone(processes: Iterable[psutil.Process]) -> bool:
    """Whether all of them have ended."""
    return not any(map(_runs, processes))


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it has ended in between
        return False


def broker_time(control: Connection) -> float:
    """Unix time, seconds, by the clock of the broker's server."""
    with control.server() as server:
        seconds, micros = server.time()  # type: ignore[misc]
    return float(seconds) + float(micros) / 1e6


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "api.cli", *map(str, arguments)]


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """This environment without the user's own settings of hardpose, but with his weights folder."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith("HARDPOSE_") or k == "HARDPOSE_WEIGHTS_DIR"
    }
    return {**kept, **(extra or {})}


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    code: int
    stdout: str
    stderr: str

    def events(self, kind: str) -> list[dict[str, object]]:
        """The JSON lines of one kind."""
        lines = [json.loads(line) for line in self.stdout.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == kind]


def hardpose(*arguments: str | Path, env: dict[str, str] | None = None, timeout: float = 600) -> Ended:
    """Runs ``hardpose`` to its end."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env=environment(env),
        timeout=timeout,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def start(
    *arguments: str | Path, env: dict[str, str] | None = None, output: IO[str] | None = None
) -> "subprocess.Popen[str]":
    """Starts ``hardpose`` and goes on; what it writes is to be read from its pipe, or goes to ``output``."""
    return subprocess.Popen(
        command(*arguments),
        stdout=output or subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(env),
    )


def only_job(home: Path) -> JobView:
    """The one job of a home folder."""
    catalog = Catalog(f"sqlite:///{home / 'catalog.sqlite'}")
    (light,) = catalog.jobs()
    return catalog.job(light.id)


def outcome(job: JobView) -> dict[str, object]:
    """All that must be the same however the work was spread: verdicts, values, IoUs, measures, keys."""
    return {
        link.link: [
            (s.index, s.state, s.funnel, s.drops, [k.model_dump() for k in s.keepers]) for s in link.segments
        ]
        for link in job.links
    }


def family(pid: int) -> list[psutil.Process]:
    """The process and all its descendants."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def api_of(home: Path, within: float = PATIENCE_SECONDS) -> str:
    """Where the API of a system that is starting listens; its process needs some seconds for that."""
    deadline = time.monotonic() + within
    while (address := running(home)) is None:
        assert time.monotonic() < deadline, "the API did not come up"
        time.sleep(0.2)
    return address
