"""What the queue costs: the distributed run against the plain loop on the same clip of two minutes.

    python -m benchmarks.overhead [--broker redis|rabbitmq] [--placement "pose | mask | me | compare"]

Both runs start counting when their processes are up and their models loaded, and stop when the last segment
is in the catalog. Counted is the CPU time (user and system) of every process that works for the job: for the
distributed run the workers with their pools, the broker and what it stands on, and the process that watches.
Whatever a worker's process does for its own speed, the plain loop does too (``workers.allocator``):
compared is the queue. ``make bench`` writes all of it to ``benchmarks/results/overhead.json``; called alone,
it writes the chosen rows to ``--out``, prints a table, and ends with 1 when a bound is missed.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from pydantic import SecretStr

from api.local import LocalSystem, local_system
from api.run import POLL_SECONDS
from benchmarks.clips import SECONDS, two_minutes
from benchmarks.servers import BROKERS, servers
from benchmarks.verdict import close
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
from workers.allocator import keep_freed_memory

DEFAULT = "pose | mask | me | compare"
PLACEMENTS = (DEFAULT, "pose+mask | me | compare", "pose+mask+me+compare")
TURNS = {("redis", DEFAULT): 2, ("rabbitmq", DEFAULT): 2}
"""How many pairs of runs: the default placement gets two, with the cores swapped, the others one."""
RATIO = 1.05
"""The queue may cost so much more CPU time, and so much more time in all, than the plain loop."""
RSS_MB = 450
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
    keep_freed_memory()
    runtime = Runtime(load_settings(home=home))
    recipe = _job(runtime, clip)
    for stage in CHAIN:
        runtime.runner(stage, recipe)
    began, clock = time.process_time(), time.monotonic()
    for segment in download(runtime, Errand(JOB, 0, str(clip))).segments:
        runtime.catalog.settle_segment(run_stages(runtime, CHAIN, SegmentResult(segment=segment)))
    rss = psutil.Process().memory_info().rss / MEGABYTE
    return {"cpu": time.process_time() - began, "wall": time.monotonic() - clock, "rss": rss}


def run_distributed(home: Path, clip: Path, placement: str, kind: str = "redis") -> Measured:
    """Broker, workers and watcher as ``hardpose run`` has them."""
    home.mkdir(parents=True)
    with servers(kind, home) as given:
        settings = load_settings(
            home=home,
            placement=placement,
            broker_url=SecretStr(given.broker),
            control_url=SecretStr(given.control),
        )
        return _run(settings, clip, given.pids)


def _run(settings: Settings, clip: Path, brokers: Mapping[str, int]) -> Measured:
    with local_system(settings) as system:
        _job(system.runtime, clip)
        system.start_workers([Stage.DOWNLOAD, *system.runtime.placement.queues])
        _wait_until_ready(system)
        processes = _processes(system, brokers)
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


def _processes(system: LocalSystem, brokers: Mapping[str, int]) -> dict[str, psutil.Process]:
    """Every process of the system by a readable name: the workers with their pools, the broker, and this
    one, which watches. The plain loop beside it is a child of this one too, and is none of them."""
    found = {"watcher": psutil.Process()} | {name: psutil.Process(pid) for name, pid in brokers.items()}
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


def measure(
    brokers: Sequence[str] = BROKERS, placements: Sequence[str] = PLACEMENTS, seconds: int = SECONDS
) -> dict[str, Any]:
    """The table: ratios of CPU and of wall-clock time, equality of results and memory for each placement on
    Redis, and for the default one on the other brokers.

    The plain loop and the distributed run work at the same time, each on a core of its own: what the machine
    does to one of them in these minutes it does to the other. Run one after the other, the plain loop alone
    differs from itself by up to a tenth here.
    """
    chosen = [(kind, p) for kind in brokers for p in placements if kind == "redis" or p == DEFAULT]
    with tempfile.TemporaryDirectory(prefix="hardpose-bench-") as folder:
        clip = two_minutes(Path(folder), seconds)
        rows = {
            (kind, placement): _row(Path(folder) / str(number), clip, placement, kind)
            for number, (kind, placement) in enumerate(chosen)
        }
    return {
        "clip_seconds": seconds,
        "placements": {placement: row for (kind, placement), row in rows.items() if kind == "redis"},
        "brokers": {kind: row for (kind, placement), row in rows.items() if placement == DEFAULT},
    }


def _row(folder: Path, clip: Path, placement: str, kind: str) -> dict[str, Any]:
    turns = range(TURNS.get((kind, placement), 1))
    pairs = [_pair(folder / str(turn), clip, placement, turn, kind) for turn in turns]
    distributed = [pair[0] for pair in pairs]
    plain = [pair[1] for pair in pairs]
    peaks = [run.peak_rss_mb for run in distributed]
    return {
        "same_results": all(results_of(d.job) == results_of(p.job) for d, p in pairs),
        "segments": len(results_of(plain[0].job)),
        "funnel": plain[0].job.funnel().check().model_dump(mode="json"),
        "cpu_ratio": _ratio([d.cpu_seconds for d in distributed], [p.cpu_seconds for p in plain]),
        "cpu_ratio_by_turn": [round(d.cpu_seconds / p.cpu_seconds, 4) for d, p in pairs],
        "wall_ratio": _ratio([d.wall_seconds for d in distributed], [p.wall_seconds for p in plain]),
        "wall_seconds": [[round(d.wall_seconds, 2), round(p.wall_seconds, 2)] for d, p in pairs],
        "plain_cpu_seconds": [round(p.cpu_seconds, 2) for p in plain],
        "cpu_seconds": [{n: round(s, 2) for n, s in sorted(d.cpu_by_process.items())} for d in distributed],
        "peak_rss_mb": {name: round(max(p[name] for p in peaks)) for name in sorted(peaks[0])},
    }


def _ratio(distributed: Sequence[float], plain: Sequence[float]) -> float:
    return round(sum(distributed) / sum(plain), 4)


def _pair(
    folder: Path, clip: Path, placement: str, turn: int, kind: str = "redis"
) -> tuple[Measured, Measured]:
    cores = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_getaffinity") else []
    first, second = (cores[turn], cores[1 - turn]) if len(cores) == 2 else (None, None)
    with plain_run(folder / "plain", clip, second) as finish:
        _pin(0, first)
        try:
            distributed = run_distributed(folder / "run", clip, placement, kind)
        finally:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, set(cores))
        return distributed, finish()


def faults(numbers: Mapping[str, Any]) -> list[str]:
    """The bounds that the numbers of ``measure`` miss, in words."""
    others = {f"{DEFAULT} on {kind}": row for kind, row in numbers["brokers"].items() if kind != "redis"}
    missed = []
    for name, row in {**numbers["placements"], **others}.items():
        if not row["same_results"]:
            missed.append(f"overhead: {name} gives other results than the plain loop")
        missed += [
            f"overhead: {name} costs {row[ratio]:.3f} of the plain loop's {what}"
            for ratio, what in (("cpu_ratio", "CPU time"), ("wall_ratio", "wall-clock time"))
            if row[ratio] > RATIO
        ]
        missed += [
            f"overhead: {process} of {name} takes {mb} MB"
            for process, mb in row["peak_rss_mb"].items()
            if mb > RSS_MB and process not in ("rabbitmq", "watcher")
        ]
    return missed


def table(numbers: Mapping[str, Any]) -> str:
    """The numbers of ``measure`` for people."""
    lines = [f"{'broker':10}{'placement':30}{'CPU':>8}{'wall':>8}  CPU seconds beside the models'"]
    rows = [("redis", placement, row) for placement, row in numbers["placements"].items()]
    rows += [(kind, DEFAULT, row) for kind, row in numbers["brokers"].items() if kind != "redis"]
    for kind, placement, row in rows:
        aside = {n: s for n, s in row["cpu_seconds"][0].items() if not n.endswith("(pool)")}
        told = ", ".join(f"{name.removesuffix(' (main)')} {spent}" for name, spent in aside.items())
        lines.append(f"{kind:10}{placement:30}{row['cpu_ratio']:8.3f}{row['wall_ratio']:8.3f}  {told}")
    return "\n".join(lines)


def main() -> int:
    """Measures what the command line asks for and returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--broker", choices=BROKERS, action="append")
    parser.add_argument("--placement", choices=PLACEMENTS, action="append")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="length of the clip")
    parser.add_argument("--out", type=Path, help="else they are only shown")
    chosen = parser.parse_args()
    numbers = measure(chosen.broker or BROKERS, chosen.placement or PLACEMENTS, chosen.seconds)
    return close(numbers, chosen.out, table, faults)


if __name__ == "__main__":
    if sys.argv[1:2] == ["plain"]:
        os.environ.pop("HARDPOSE_BROKER_URL", None)
        print(json.dumps(plain_main(Path(sys.argv[2]), Path(sys.argv[3]))))
    else:
        sys.exit(main())
