"""Many small pieces: 1,000 videos of 3 segments through stages that take no time, on Redis and on RabbitMQ.

    python -m benchmarks.volume [--broker redis|rabbitmq] [--videos 1000] [--url amqp://...]

Every file is different, is really fetched, probed and booked; each segment really passes five queues, and
real workers serve them (``benchmarks.stub_worker``): what is measured is the queue. A segment has a third of
the frames of a real one, so both brokers take about four minutes on two quiet cores. Counted is that every
segment and every frame arrived, that no stage ran twice, how much memory the broker and each worker hold
meanwhile, and how many segments a second came through. Writes ``benchmarks/results/volume.json`` and ends
with 1 when a bound is missed.

The ceiling is how many segments a second the broker's own process could carry if nothing else held it up:
those that came through, over the CPU seconds that it spent on them. Redis and Valkey do their work in one
thread, so for them one CPU second a second is the end; RabbitMQ spreads over cores.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
from pydantic import SecretStr

from api.local import LocalSystem, local_system
from benchmarks.servers import BROKERS, Servers, servers
from benchmarks.stub_worker import REAL, THIRD
from benchmarks.verdict import close
from broker.app import create_app
from broker.messages import Funnel
from broker.recipe import CHAIN, Stage
from broker.settings import load_settings
from broker.views import State
from tasks.pipeline import send_links

VIDEOS, SEGMENTS = 1000, 3
SEGMENT_SECONDS = 1
SAMPLE_SECONDS = 0.5
TELL_SECONDS = 10
START_SECONDS = 120
MOST_SECONDS = 900
"""Without an end after so long, the run has lost something."""
GROWTH_MB = {"worker": 12.0, "broker": 12.0}
"""How much more memory a process may hold at the end than when a third of the work was done."""
JOB = "volume"
MEGABYTE = 1024 * 1024
RESULTS = Path(__file__).parent / "results" / "volume.json"
WORKER = Path(__file__).with_name("stub_worker.py")


def videos(folder: Path, count: int, segments: int = SEGMENTS) -> list[Path]:
    """``count`` different files of ``segments`` seconds; one is encoded, the others end in another box.

    A ``free`` box may stand anywhere in an MP4 file and means nothing (ISO/IEC 14496-12, 8.1.2).
    """
    folder.mkdir(parents=True)
    first = folder / "0.mp4"
    with av.open(str(first), "w") as container:
        stream = container.add_stream("libx264", rate=4)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(4 * segments * SEGMENT_SECONDS):
            picture = np.full((48, 64, 3), 20 * number % 255, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    content = first.read_bytes()
    files = [first]
    for number in range(1, count):
        payload = number.to_bytes(8, "big")
        files.append(folder / f"{number}.mp4")
        files[-1].write_bytes(content + (8 + len(payload)).to_bytes(4, "big") + b"free" + payload)
    return files


@dataclass
class Watch:
    """What the processes of a run take, by name, over time."""

    processes: dict[str, psutil.Process]
    done: list[int] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)

    def note(self, done: int) -> None:
        """Notes what each process holds now that ``done`` segments are done."""
        self.done.append(done)
        for name, process in self.processes.items():
            self.memory.setdefault(name, []).append(process.memory_info().rss / MEGABYTE)

    def cpu(self) -> dict[str, float]:
        """CPU seconds, user and system, of each process so far, with those of its ended children."""
        spent = {name: process.cpu_times() for name, process in self.processes.items()}
        return {
            name: cpu.user + cpu.system + cpu.children_user + cpu.children_system
            for name, cpu in spent.items()
        }

    def growth(self, name: str, total: int) -> tuple[float, float]:
        """How much the process ``name`` has grown, in MB: over the last two thirds of ``total`` segments, and
        as a slope, for 1,000 segments.

        The first third is left out: there pools of connections, caches and the allocator's arenas fill.
        """
        rows = [(d, m) for d, m in zip(self.done, self.memory[name], strict=True) if d >= total / 3]
        if len({done for done, _ in rows}) < 3:
            return 0.0, 0.0
        slope = statistics.linear_regression([d for d, _ in rows], [m for _, m in rows]).slope
        return slope * total * 2 / 3, slope * 1000


def run(
    folder: Path, kind: str, count: int = VIDEOS, url: str | None = None, frames: tuple[int, int] = REAL
) -> dict[str, Any]:
    """One run; see the module's text.

    Args:
        folder: for everything; short, and empty.
        kind: of ``BROKERS``.
        count: videos, of ``SEGMENTS`` segments each.
        url: of a broker that runs already.
        frames: that a segment has: kept by the pose stage, and not.
    """
    files = videos(folder / "videos", count)
    with servers(kind, folder, url) as given:
        settings = load_settings(
            home=folder / "home",
            broker_url=SecretStr(given.broker),
            control_url=SecretStr(given.control),
            sampling={"segment_seconds": SEGMENT_SECONDS},
            temp_dir=folder / "temp",
        )
        (folder / "temp").mkdir()
        with local_system(settings) as system:
            told = {"broker": kind, "frames_of_a_segment": sum(frames)}
            return told | _measured(system, folder, files, given, frames)


def _measured(
    system: LocalSystem, folder: Path, files: Sequence[Path], given: Servers, frames: tuple[int, int]
) -> dict[str, Any]:
    notes = folder / "notes"
    notes.mkdir()
    for queue in (Stage.DOWNLOAD, *system.runtime.placement.queues):
        line = [sys.executable, str(WORKER), str(notes), str(queue), str(queue), *map(str, frames)]
        system.supervisor.start_program(line, str(queue))
    system.runtime.catalog.create_job(JOB, system.runtime.recipe(), list(map(str, files)))
    _wait_until_ready(system)
    watch = Watch(_processes(system, given.pids))
    before, clock = watch.cpu(), time.monotonic()
    with create_app(system.settings) as app:
        send_links(app, system.runtime, JOB)
    sent = time.monotonic() - clock
    _follow(system, watch, notes, len(files) * SEGMENTS)
    wall = time.monotonic() - clock
    spent = {name: seconds - before[name] for name, seconds in watch.cpu().items()}
    return {
        **_accounts(system, notes),
        **_speed(len(files) * SEGMENTS, wall, sent, spent, given.pids),
        "memory": _memory(watch, len(files) * SEGMENTS),
    }


def _wait_until_ready(system: LocalSystem) -> None:
    deadline = time.monotonic() + START_SECONDS
    while len(set(system.workers_ready())) != 1:
        if time.monotonic() > deadline or system.supervisor.mend():
            raise TimeoutError(f"workers did not come up; see {system.supervisor.logs}")
        time.sleep(0.1)
    time.sleep(1.0)


def _processes(system: LocalSystem, pids: Mapping[str, int]) -> dict[str, psutil.Process]:
    found = {name: psutil.Process(pid) for name, pid in pids.items()}
    for worker in system.supervisor.workers:
        main = psutil.Process(worker.process.pid)
        found[f"{worker.name} (main)"] = main
        found |= {f"{worker.name} (pool)": pool for pool in main.children()}
    return found


def _follow(system: LocalSystem, watch: Watch, notes: Path, total: int) -> None:
    """Until the job has ended. The books of thousands of links are not read for every look."""
    deadline, ended = time.monotonic() + MOST_SECONDS, notes / Stage.COMPARE
    tell = time.monotonic() + TELL_SECONDS
    while True:
        done = ended.stat().st_size if ended.exists() else 0
        watch.note(done)
        if done >= total and system.runtime.catalog.job_light(JOB).final:
            return
        if time.monotonic() > tell:
            print(f"volume: {done} of {total} segments", file=sys.stderr, flush=True)
            tell = time.monotonic() + TELL_SECONDS
        if died := system.supervisor.mend():
            raise RuntimeError(f"{died} ended; see {system.supervisor.logs}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{done} of {total} segments after {MOST_SECONDS} s")
        time.sleep(SAMPLE_SECONDS)


def _accounts(system: LocalSystem, notes: Path) -> dict[str, Any]:
    """What came of it, by the books, and how often each stage ran; what is left in the queues."""
    job = system.runtime.catalog.job_light(JOB)
    segments = [segment for link in job.links for segment in link.segments]
    funnel = sum((segment.funnel for segment in segments), Funnel()).check()
    return {
        "videos": sum(link.state == State.DONE for link in job.links),
        "segments": sum(segment.state == State.DONE for segment in segments),
        "frames": funnel.examined,
        "funnel": funnel.model_dump(mode="json"),
        "stage_runs": {stage.value: (notes / stage).stat().st_size for stage in CHAIN},
    }


def _speed(
    total: int, wall: float, sent: float, spent: Mapping[str, float], pids: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "seconds": round(wall, 1),
        "links_sent_in_seconds": round(sent, 2),
        "segments_per_second": round(total / wall, 1),
        "cpu_seconds": {name: round(seconds, 2) for name, seconds in sorted(spent.items())},
        "cpu_ms_per_segment": round(1000 * sum(spent.values()) / total, 2),
        "ceiling_segments_per_broker_cpu_second": {name: round(total / spent[name]) for name in pids},
    }


def _memory(watch: Watch, total: int) -> dict[str, dict[str, float]]:
    rows = {}
    for name, held in sorted(watch.memory.items()):
        grown, slope = watch.growth(name, total)
        rows[name] = {
            "first_mb": round(held[0], 1),
            "last_mb": round(held[-1], 1),
            "most_mb": round(max(held), 1),
            "growth_mb": round(grown, 2),
            "mb_per_1000_segments": round(slope, 3),
        }
    return rows


def faults_of(numbers: Mapping[str, Any], count: int) -> list[str]:
    """The bounds that a run of ``count`` videos has missed, in words."""
    total, kind = count * SEGMENTS, numbers["broker"]
    wanted = {"videos": count, "segments": total, "frames": total * numbers["frames_of_a_segment"]}
    missed = [f"{kind}: {numbers[k]} {k}, not {n}" for k, n in wanted.items() if numbers[k] != n]
    missed += [
        f"{kind}: the stage {stage} ran {runs} times for {total} segments"
        for stage, runs in numbers["stage_runs"].items()
        if runs != total
    ]
    for name, row in numbers["memory"].items():
        most = GROWTH_MB["worker" if "(" in name else "broker"]
        if row["growth_mb"] > most:
            missed.append(f"{kind}: {name} has grown by {row['growth_mb']} MB, more than {most}")
    return missed


def faults(numbers: Mapping[str, Any]) -> list[str]:
    """The bounds that the numbers of ``measure`` miss, in words."""
    return [fault for row in numbers["runs"].values() for fault in faults_of(row, numbers["videos"])]


def table(numbers: Mapping[str, Any]) -> str:
    """The numbers of ``measure`` for people."""
    lines = []
    for row in numbers["runs"].values():
        lines.append(
            f"{row['broker']}: {row['segments']} segments in {row['seconds']} s, "
            f"{row['segments_per_second']} a second, {row['cpu_ms_per_segment']} ms of CPU time each; "
            f"segments for a CPU second of {row['ceiling_segments_per_broker_cpu_second']}"
        )
        lines += [
            f"  {name:18} {row['cpu_seconds'][name]:7.2f} s CPU  {held['first_mb']:6.1f} -> "
            f"{held['last_mb']:6.1f} MB  {held['mb_per_1000_segments']:+.3f} MB per 1,000 segments"
            for name, held in row["memory"].items()
        ]
    return "\n".join(lines)


def measure(brokers: Sequence[str] = BROKERS, count: int = VIDEOS, url: str | None = None) -> dict[str, Any]:
    """One run on each of ``brokers``, of ``count`` videos; ``url`` names a broker that runs already."""
    runs = {}
    for kind in brokers:
        print(f"volume: {count} videos through {kind}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="hardpose-volume-") as folder:
            runs[kind] = run(Path(folder), kind, count, url, THIRD)
    return {"videos": count, "cores": os.cpu_count(), "runs": runs}


def main() -> int:
    """Runs what the command line asks for and returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--broker", choices=BROKERS, action="append")
    parser.add_argument("--videos", type=int, default=VIDEOS)
    parser.add_argument("--url", help="of a broker that runs already, in place of one of our own")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    return close(measure(chosen.broker or BROKERS, chosen.videos, chosen.url), chosen.out, table, faults)


if __name__ == "__main__":
    sys.exit(main())
