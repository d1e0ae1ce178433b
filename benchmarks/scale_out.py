"""What more workers give: one job through 1, 2 and 4 processes of the pose stage, and through two hosts.

    python -m benchmarks.scale_out [--seconds 31] [--only workers|hosts]

The pose stage, on the embedded networks with one thread, does nearly all of the work: no frame meets the
rule (a confidence of 1), so nothing is left for the stages behind it. Every row starts its own broker and
workers, waits until all have loaded their models and said so, and counts from the end of the command that
sends the link until the last segment is booked: the fetch, which nobody shares, is in it. ``workers``:
processes on this machine. ``hosts``: a coordinator and a second host in network namespaces (root, Linux),
with Redis over TLS and frames on S3; one pose process on the second host, then one more on the coordinator.
Writes ``benchmarks/results/scale_out.json`` and prints a table; ends with 1 when two processes on two cores
or more are less than 1.8 times as fast as one. About two minutes on two cores.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.clips import two_minutes
from benchmarks.verdict import close
from broker.catalog import Catalog
from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from broker.presence import Presence
from broker.valkey import die_with_parent
from broker.views import State

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
    "HARDPOSE_SAMPLING__SEGMENT_SECONDS": "2",  # the last one, that one works on alone, is a small part
}
CLIP = "MultiPerson_cam01"
CLIP_SECONDS = 31
"""The clip of two seconds 16 times: with an odd number of segments one of two workers is idle at the end."""
LIMIT_SECONDS = 300


@contextmanager
def process(line: list[str], log: Path, env: dict[str, str]) -> Iterator[None]:
    """A worker that runs meanwhile, and ends with this process, however that ends."""
    with log.open("wb") as output:
        started = subprocess.Popen(line, stdout=output, stderr=output, env=env, preexec_fn=die_with_parent())
    try:
        yield
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def wait(what: str, condition: Callable[[], bool], seconds: float = 90, every: float = 0.1) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(every)


def wait_for_models(control: Connection, workers: int, logs: Path) -> None:
    """Until so many have announced themselves, which a worker does when its models are loaded."""
    presence = Presence(control)
    try:
        wait("the workers", lambda: len(presence.alive()) >= workers)
    except TimeoutError as error:
        told = [f"{log.name}: {log.read_text(errors='replace')[-500:]}" for log in logs.glob("*.log")]
        raise TimeoutError("\n".join(["not all workers came up", *told])) from error


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
    segments = [segment for link in done.links for segment in link.segments]
    if not segments or {segment.state for segment in segments} != {State.DONE}:
        raise RuntimeError(f"not every segment was done: {[link.failure for link in done.links]}")
    examined = done.funnel().check().examined
    return {"seconds": round(took, 2), "segments": len(segments), "examined": examined}


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
        for n, queue in enumerate(queues):
            line = command("worker", queue, "--name", f"{queue}-{n}")
            stack.enter_context(process(line, folder / f"{n}.log", env))
        wait_for_models(Connection(broker.url), len(queues), folder)
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
        wait_for_models(system.control(), len(work), folder)
        line = system.net.line("coordinator", [str(word) for word in command("enqueue", clip)])
        return job(line, environment(common | {"HARDPOSE_HOME": str(home)}), home)


def measure(seconds: int = CLIP_SECONDS, only: str | None = None) -> dict[str, Any]:
    """The table: rows by name, each with its speed-up over the first of its kind."""
    # Whoever ends this with SIGTERM wants the workers and the hosts gone, too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if str(HELPERS) not in sys.path:
        sys.path.append(str(HELPERS))
    found: dict[str, Any] = {"clip_seconds": seconds, "cores": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory(prefix="hardpose-scale-") as place:
        folder = Path(place)
        clip = two_minutes(folder, seconds, CLIP)
        if only in (None, "workers"):
            rows = {str(n): told(on_this_machine(folder / f"workers-{n}", clip, n)) for n in COUNTS}
            found["workers"] = with_speed_up(rows)
        if only in (None, "hosts") and os.geteuid() == 0 and shutil.which("ip"):
            rows = {
                name: told(on_two_hosts(folder / f"hosts-{name}", clip, name == "two"))
                for name in ("one", "two")
            }
            found["hosts"] = with_speed_up(rows)
    return found


def told(row: dict[str, Any]) -> dict[str, Any]:
    """``row``, said at once: whoever waits for minutes sees how far it is."""
    print(f"scale_out: {row['segments']} segments in {row['seconds']} s", file=sys.stderr, flush=True)
    return row


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


def table(numbers: dict[str, Any]) -> str:
    """The numbers for people."""
    lines = [f"{'pose processes':24}{'seconds':>9}{'segments':>10}{'speed-up':>10}"]
    for kind in ("workers", "hosts"):
        for name, row in numbers.get(kind, {}).items():
            what = f"{name} {kind}"
            lines.append(f"{what:24}{row['seconds']:9.1f}{row['segments']:10}{row['speed_up']:10.2f}")
    return "\n".join(lines)


def main() -> int:
    """Measures, prints and writes; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=CLIP_SECONDS)
    parser.add_argument("--only", choices=("workers", "hosts"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    return close(measure(chosen.seconds, chosen.only), chosen.out, table, faults)


if __name__ == "__main__":
    sys.exit(main())
