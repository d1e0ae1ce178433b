"""What the queue costs: the distributed run against the plain loop on the same clip of two minutes.

Both runs start counting when their processes are up and their models loaded, and stop when the last segment
is in the catalog. Counted is the CPU time (user and system) of every process that works for the job: for the
distributed run the workers with their pools, the broker, and the process that watches.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from api.local import LocalSystem, local_system
from api.run import POLL_SECONDS
from benchmarks.clips import two_minutes
from broker.app import create_app
from broker.catalog import Catalog
from broker.messages import SegmentResult
from broker.recipe import CHAIN, Recipe, Stage
from broker.settings import Settings, load_settings
from broker.views import JobView
from tasks.download import download
from tasks.pipeline import run_stages, send_links
from tasks.runtime import Runtime

PLACEMENTS = (
    "pose | mask | me | compare",
    "pose+mask | me | compare",
    "pose+mask+me+compare",
)
JOB = "bench"
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Measured:
    """One run: CPU and wall-clock seconds, largest resident memory of a worker process, and its results."""

    cpu_seconds: float
    cpu_by_process: dict[str, float]
    wall_seconds: float
    peak_rss_mb: dict[str, float]
    job: JobView


def run_plain(home: Path, clip: Path) -> Measured:
    """The plain loop, in a process of its own so that its CPU time is its own."""
    code = [sys.executable, "-m", "benchmarks.overhead", "plain", str(home), str(clip)]
    numbers = json.loads(_printed(code))
    job = Catalog(load_settings(home=home).catalog).job(JOB)
    return Measured(numbers["cpu"], {}, numbers["wall"], {"plain": numbers["rss"]}, job)


def _printed(code: list[str]) -> str:
    return subprocess.run(code, check=True, capture_output=True, text=True).stdout.splitlines()[-1]


def plain_main(home: Path, clip: Path) -> dict[str, float]:
    """What the process of ``run_plain`` does."""
    runtime = Runtime(load_settings(home=home))
    recipe = _job(runtime, clip)
    for stage in CHAIN:
        runtime.runner(stage, recipe)
    began, clock = time.process_time(), time.monotonic()
    for segment in download(runtime, JOB, 0, str(clip)):
        runtime.catalog.settle_segment(run_stages(runtime, CHAIN, SegmentResult(segment=segment)))
    rss = psutil.Process().memory_info().rss / MEGABYTE
    return {"cpu": time.process_time() - began, "wall": time.monotonic() - clock, "rss": rss}


def run_distributed(home: Path, clip: Path, placement: str) -> Measured:
    """Broker, workers and watcher as ``hardpose run`` has them."""
    settings: Settings = load_settings(home=home, placement=placement)
    with local_system(settings) as system:
        _job(system.runtime, clip)
        system.start_workers([Stage.DOWNLOAD, *system.runtime.placement.queues])
        _wait_until_ready(system)
        processes = _processes(system)
        before, clock = _cpu(processes), time.monotonic()
        with create_app(system.settings) as app:
            send_links(app, system.runtime, JOB)
        peaks: dict[str, float] = {}
        while not system.runtime.catalog.job_light(JOB).final:
            _note_memory(processes, peaks)
            time.sleep(POLL_SECONDS)
        after, wall = _cpu(processes), time.monotonic() - clock
        job = system.runtime.catalog.job(JOB)
    spent = {name: after[name] - before[name] for name in after}
    return Measured(sum(spent.values()), spent, wall, peaks, job)


def _job(runtime: Runtime, clip: Path) -> Recipe:
    recipe = runtime.recipe()
    runtime.catalog.create_job(JOB, recipe, [str(clip)])
    return recipe


def _wait_until_ready(system: LocalSystem) -> None:
    deadline = time.monotonic() + 60
    while len(set(system.workers_ready())) != 1:
        if time.monotonic() > deadline:
            raise TimeoutError(f"workers did not come up; see {system.supervisor.logs}")
        time.sleep(0.1)
    time.sleep(1.0)  # the consumer's start-up traffic belongs to coming up


def _processes(system: LocalSystem) -> dict[str, psutil.Process]:
    """Every process of the system by a readable name: this one watches, its descendants work."""
    me = psutil.Process()
    found = {"watcher": me}
    for process in me.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found[_queue_of(process, system)] = process
    return found


def _queue_of(process: psutil.Process, system: LocalSystem) -> str:
    owners = {w.process.pid: w.name for w in system.supervisor.workers}
    if process.pid in owners:
        return f"{owners[process.pid]} (main)"
    return f"{owners[process.ppid()]} (pool)" if process.ppid() in owners else process.name()


def _cpu(processes: dict[str, psutil.Process]) -> dict[str, float]:
    times = {name: process.cpu_times() for name, process in processes.items()}
    return {name: spent.user + spent.system for name, spent in times.items()}


def _note_memory(processes: dict[str, psutil.Process], peaks: dict[str, float]) -> None:
    for name, process in processes.items():
        peaks[name] = max(peaks.get(name, 0.0), process.memory_info().rss / MEGABYTE)


def results_of(job: JobView) -> Any:
    """Everything that has to be equal, however the work was spread."""
    return [(s.index, s.state, s.funnel, s.drops, s.keepers) for link in job.links for s in link.segments]


@contextlib.contextmanager
def _fresh() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hardpose-bench-") as folder:
        yield Path(folder)


def measure() -> dict[str, Any]:
    """The table: CPU ratio, equality of results and memory for each placement.

    Everything runs on one core: on two, processes that run at the same time slow each other down by what
    the cores share, which CPU time counts as work. The plain loop runs before and after each placement; the
    yardstick is the mean of the two, their spread the noise.
    """
    with _one_core(), _fresh() as folder:
        return _measure(folder, two_minutes(folder))


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """This process and its children on one core, where the system can do that (Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _measure(folder: Path, clip: Path) -> dict[str, Any]:
    plain = [run_plain(folder / "plain-0", clip)]
    runs = {}
    for number, placement in enumerate(PLACEMENTS, 1):
        runs[placement] = run_distributed(folder / f"run-{number}", clip, placement)
        plain.append(run_plain(folder / f"plain-{number}", clip))
    expected = results_of(plain[0].job)
    video = plain[0].job.links[0].video
    return {
        "clip_seconds": video.duration_ms / 1000 if video else None,
        "segments": len(expected),
        "funnel": plain[0].job.funnel().check().model_dump(mode="json"),
        "plain_cpu_seconds": [round(run.cpu_seconds, 2) for run in plain],
        "placements": {
            placement: _row(run, (plain[number], plain[number + 1]), expected)
            for number, (placement, run) in enumerate(runs.items())
        },
    }


def _row(run: Measured, around: tuple[Measured, Measured], expected: Any) -> dict[str, Any]:
    yardstick = sum(plain.cpu_seconds for plain in around) / 2
    return {
        "same_results": results_of(run.job) == expected,
        "cpu_ratio": round(run.cpu_seconds / yardstick, 4),
        "noise": round(abs(around[0].cpu_seconds - around[1].cpu_seconds) / yardstick, 4),
        "wall_ratio": round(run.wall_seconds * 2 / sum(plain.wall_seconds for plain in around), 4),
        "cpu_seconds": {name: round(s, 2) for name, s in sorted(run.cpu_by_process.items())},
        "peak_rss_mb": {name: round(mb) for name, mb in sorted(run.peak_rss_mb.items())},
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["plain"]:
        os.environ.pop("HARDPOSE_BROKER_URL", None)
        print(json.dumps(plain_main(Path(sys.argv[2]), Path(sys.argv[3]))))
    else:
        print(json.dumps(measure(), indent=2))
