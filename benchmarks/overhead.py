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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from api.local import LocalSystem, local_system
from api.run import POLL_SECONDS
from benchmarks.clips import SECONDS, two_minutes
from broker.app import create_app
from broker.catalog import Catalog
from broker.messages import SegmentResult
from broker.recipe import CHAIN, Recipe, Stage
from broker.settings import Settings, load_settings
from broker.views import JobView
from tasks.download import download
from tasks.pipeline import run_stages, send_links
from tasks.runtime import Runtime
from tasks.transfer import Errand

PLACEMENTS = {
    "pose | mask | me | compare": 2,
    "pose+mask | me | compare": 1,
    "pose+mask+me+compare": 1,
}
"""Placements, and how many pairs of runs each gets: the default one two, with the cores swapped."""
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


@contextlib.contextmanager
def plain_run(home: Path, clip: Path, core: int | None) -> Iterator[Callable[[], Measured]]:
    """The plain loop in a process of its own, started at once; the function waits for its numbers."""
    code = [sys.executable, "-m", "benchmarks.overhead", "plain", str(home), str(clip)]
    process = subprocess.Popen(code, stdout=subprocess.PIPE, text=True)
    _pin(process.pid, core)

    def finish() -> Measured:
        numbers = json.loads(process.communicate()[0].splitlines()[-1])
        job = Catalog(load_settings(home=home).catalog).job(JOB)
        return Measured(numbers["cpu"], {}, numbers["wall"], {"plain": numbers["rss"]}, job)

    try:
        yield finish
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _pin(pid: int, core: int | None) -> None:
    """Binds a process and its future children to one core, where the system can do that (Linux)."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {core})


def plain_main(home: Path, clip: Path) -> dict[str, float]:
    """What the process of ``run_plain`` does."""
    runtime = Runtime(load_settings(home=home))
    recipe = _job(runtime, clip)
    for stage in CHAIN:
        runtime.runner(stage, recipe)
    began, clock = time.process_time(), time.monotonic()
    for segment in download(runtime, Errand(JOB, 0, str(clip))).segments:
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
    """Every process of the system by a readable name: the workers with their pools, the broker, and this
    one, which watches. The plain loop beside it is a child of this one too, and is none of them."""
    found = {"watcher": psutil.Process()}
    if system.broker is not None and system.broker.pid is not None:
        found["broker"] = psutil.Process(system.broker.pid)
    for worker in system.supervisor.workers:
        main = psutil.Process(worker.process.pid)
        found[f"{worker.name} (main)"] = main
        found |= {f"{worker.name} (pool)": pool for pool in main.children()}
    return found


def _cpu(processes: dict[str, psutil.Process]) -> dict[str, float]:
    times = {name: process.cpu_times() for name, process in processes.items()}
    return {name: spent.user + spent.system for name, spent in times.items()}


def _note_memory(processes: dict[str, psutil.Process], peaks: dict[str, float]) -> None:
    for name, process in processes.items():
        peaks[name] = max(peaks.get(name, 0.0), process.memory_info().rss / MEGABYTE)


def results_of(job: JobView) -> Any:
    """Everything that has to be equal, however the work was spread."""
    return [(s.index, s.state, s.funnel, s.drops, s.keepers) for link in job.links for s in link.segments]


def measure() -> dict[str, Any]:
    """The table: CPU ratio, equality of results and memory for each placement.

    The plain loop and the distributed run work at the same time, each on a core of its own: what the machine
    does to one of them in these minutes it does to the other. Run one after the other, the plain loop alone
    differs from itself by up to a tenth here.
    """
    with tempfile.TemporaryDirectory(prefix="hardpose-bench-") as folder:
        clip = two_minutes(Path(folder))
        rows = {
            placement: _row(Path(folder) / str(number), clip, placement, turns)
            for number, (placement, turns) in enumerate(PLACEMENTS.items())
        }
    return {"clip_seconds": SECONDS, "placements": rows}


def _row(folder: Path, clip: Path, placement: str, turns: int) -> dict[str, Any]:
    pairs = [_pair(folder / str(turn), clip, placement, turn) for turn in range(turns)]
    distributed = [pair[0] for pair in pairs]
    plain = [pair[1] for pair in pairs]
    peaks = [run.peak_rss_mb for run in distributed]
    return {
        "same_results": all(results_of(d.job) == results_of(p.job) for d, p in pairs),
        "segments": len(results_of(plain[0].job)),
        "funnel": plain[0].job.funnel().check().model_dump(mode="json"),
        "cpu_ratio": round(sum(d.cpu_seconds for d in distributed) / sum(p.cpu_seconds for p in plain), 4),
        "cpu_ratio_by_turn": [round(d.cpu_seconds / p.cpu_seconds, 4) for d, p in pairs],
        "plain_cpu_seconds": [round(p.cpu_seconds, 2) for p in plain],
        "cpu_seconds": [{n: round(s, 2) for n, s in sorted(d.cpu_by_process.items())} for d in distributed],
        "peak_rss_mb": {name: round(max(p[name] for p in peaks)) for name in sorted(peaks[0])},
    }


def _pair(folder: Path, clip: Path, placement: str, turn: int) -> tuple[Measured, Measured]:
    cores = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_getaffinity") else []
    first, second = (cores[turn], cores[1 - turn]) if len(cores) == 2 else (None, None)
    with plain_run(folder / "plain", clip, second) as finish:
        _pin(0, first)
        try:
            distributed = run_distributed(folder / "run", clip, placement)
        finally:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, set(cores))
        return distributed, finish()


if __name__ == "__main__":
    if sys.argv[1:2] == ["plain"]:
        os.environ.pop("HARDPOSE_BROKER_URL", None)
        print(json.dumps(plain_main(Path(sys.argv[2]), Path(sys.argv[3]))))
    else:
        print(json.dumps(measure(), indent=2))
