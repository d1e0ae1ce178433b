"""What more workers give: one job through 1, 2 and 4 processes of the pose stage, and through two hosts.

    python -m benchmarks.scale_out [--seconds 120] [--only workers|hosts]

The pose stage, on the embedded networks with one thread, does nearly all of the work: no frame meets the
rule (a confidence of 1), so nothing is left for the stages behind it. Every row starts its own broker and
workers, waits until all are ready, and counts from the end of the command that sends the link until the
last segment is booked. ``workers``: processes on this machine. ``hosts``: a coordinator and a second host
in network namespaces (root, Linux), with Redis over TLS and frames on S3; one pose process on the second
host, then one more on the coordinator. Writes ``benchmarks/results/scale_out.json`` and prints a table;
ends with 1 when two processes on two cores or more are less than 1.8 times as fast as one.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.clips import two_minutes
from broker.catalog import Catalog
from broker.embedded import EmbeddedBroker

HELPERS = Path(__file__).resolve().parent.parent / "tests" / "helpers"
RESULTS = Path(__file__).parent / "results" / "scale_out.json"
COUNTS = (1, 2, 4)
SPEED_UP = 1.8
"""Of two processes over one, where there are two cores or more."""
REST = "mask+me+compare"
SETTINGS = {
    "HARDPOSE_PLACEMENT": f"pose | {REST}",
    "HARDPOSE_THREADS": "1",
    "HARDPOSE_RULE__MIN_CONFIDENCE": "1.0",
    "HARDPOSE_SAMPLING__SEGMENT_SECONDS": "4",
}
CLIP = "MultiPerson_cam01"
LIMIT_SECONDS = 300


@contextmanager
def process(line: list[str], log: Path, env: dict[str, str]) -> Iterator[Callable[[], bool]]:
    """A worker that runs meanwhile; the function says whether it is ready."""
    with log.open("wb") as output:
        started = subprocess.Popen(line, stdout=output, stderr=output, env=env)

    def ready() -> bool:
        if started.poll() is not None:
            raise RuntimeError(f"a worker has ended:\n{log.read_text(errors='replace')[-2000:]}")
        return " ready." in log.read_text(errors="replace")

    try:
        yield ready
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def wait(what: str, condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


def job(line: list[str], env: dict[str, str], home: Path) -> dict[str, Any]:
    """Sends the job with ``line`` and waits for its end; what came of it, and how long it took.

    The clock starts when the command that sends it has ended; its own start is not counted.
    """
    sent = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
    if sent.returncode:
        raise RuntimeError(sent.stderr)
    name, catalog = sent.stdout.strip(), Catalog(f"sqlite:///{home / 'catalog.sqlite'}")
    began = time.monotonic()
    wait("the end of the job", lambda: catalog.job_light(name).final, LIMIT_SECONDS)
    took = time.monotonic() - began
    done = catalog.job(name)
    segments = sum(len(link.segments) for link in done.links)
    return {"seconds": round(took, 2), "segments": segments, "examined": done.funnel().check().examined}


def on_this_machine(folder: Path, clip: Path, count: int) -> dict[str, Any]:
    """A row: ``count`` processes of the pose stage."""
    from hardpose_process import command, environment

    folder.mkdir()
    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(folder / "broker"))
        home = folder / "home"
        given = {"HARDPOSE_BROKER_URL": broker.url, "HARDPOSE_HOME": str(home)}
        env = environment(SETTINGS | given)
        queues = ["download", REST, *["pose"] * count]
        ready = [
            stack.enter_context(process(command("worker", q, "--name", f"{q}-{n}"), folder / f"{n}.log", env))
            for n, q in enumerate(queues)
        ]
        wait("workers that are ready", lambda: all(is_ready() for is_ready in ready))
        time.sleep(2)  # models are loaded
        return job(command("enqueue", clip), env, home)


def on_two_hosts(folder: Path, clip: Path, both: bool) -> dict[str, Any]:
    """A row: one pose process on the second host and, with ``both``, one on the coordinator."""
    from hardpose_process import command, environment
    from three_hosts import three_hosts

    folder.mkdir()
    with three_hosts(folder) as system:
        common = system.broker | system.store | SETTINGS
        home = folder / "state"
        work = [("coordinator", "download", home), ("coordinator", REST, home)]
        work += [("gpu", "pose", folder / "second")]
        work += [("coordinator", "pose", folder / "first")] if both else []
        for number, (host, queue, own) in enumerate(work):
            line = command("worker", queue, "--name", f"{queue}-{number}")
            system.start(host, f"worker-{number}", line, common | {"HARDPOSE_HOME": str(own)})
        names = [f"worker-{number}" for number in range(len(work))]
        system.wait(lambda: all(" ready." in system.log(name) for name in names), "workers", 90)
        time.sleep(2)
        line = system.net.line("coordinator", [str(word) for word in command("enqueue", clip)])
        return job(line, environment(common | {"HARDPOSE_HOME": str(home)}), home)


def measure(seconds: int, only: str | None) -> dict[str, Any]:
    """The table: rows by name, each with its speed-up over the first of its kind."""
    if str(HELPERS) not in sys.path:
        sys.path.append(str(HELPERS))
    found: dict[str, Any] = {"clip_seconds": seconds, "cores": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory(prefix="hardpose-scale-") as place:
        folder = Path(place)
        clip = two_minutes(folder, seconds, CLIP)
        if only in (None, "workers"):
            rows = {str(n): on_this_machine(folder / f"workers-{n}", clip, n) for n in COUNTS}
            found["workers"] = with_speed_up(rows)
        if only in (None, "hosts") and os.geteuid() == 0 and shutil.which("ip"):
            rows = {
                name: on_two_hosts(folder / f"hosts-{name}", clip, name == "two") for name in ("one", "two")
            }
            found["hosts"] = with_speed_up(rows)
    return found


def with_speed_up(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    first = next(iter(rows.values()))
    return {
        name: {**row, "speed_up": round(first["seconds"] / row["seconds"], 2)} for name, row in rows.items()
    }


def faults(numbers: dict[str, Any]) -> list[str]:
    """What misses its bound, in words."""
    missed = []
    for kind, two in (("workers", "2"), ("hosts", "two")):
        rows = numbers.get(kind, {})
        if rows and len({(row["segments"], row["examined"]) for row in rows.values()}) != 1:
            missed.append(f"scale_out: {kind} did not all do the same work")
        if rows and numbers["cores"] >= 2 and rows[two]["speed_up"] < SPEED_UP:
            missed.append(f"scale_out: two {kind} are {rows[two]['speed_up']} times as fast as one")
    return missed


def main() -> int:
    """Measures, prints and writes; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--only", choices=("workers", "hosts"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    numbers = measure(chosen.seconds, chosen.only)
    chosen.out.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"{'pose processes':24}{'seconds':>9}{'segments':>10}{'speed-up':>10}")
    for kind in ("workers", "hosts"):
        for name, row in numbers.get(kind, {}).items():
            print(f"{name + ' ' + kind:24}{row['seconds']:9.1f}{row['segments']:10}{row['speed_up']:10.2f}")
    missed = faults(numbers)
    print("\n".join(missed) or "every bound holds")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
