"""Frames a second of a device's worker, against the bare loop of its interpreter on the same pictures.

    python -m benchmarks.device_throughput [--segments 24] [--frames 40] [--rounds 3] [--processes N]

The bare loop is set_tensor, invoke, get_tensor on inputs that lie ready in memory, in a process of its own.
The worker is the real one (``hardpose worker me --device me.toml``) on a real broker in which the messages of
all segments wait beforehand; it is timed from its fourth segment's end to its last one's: without its start,
and with up to four processes without what they had begun by then. Bare loops before and behind it are the
yardstick, because machines differ and are noisy; of the rounds the median counts. The broker runs on the same
machine, and takes its share of the processors.

``inline``: the frames inside the messages, at the network's size, as PNG or JPEG. ``store``: from the
artifact store, whole frames decoded and resized, and masks of their size stored, on the machine that has the
device. ``in_stage`` is the time that the stage itself took, over all processes and without their waiting for
each other, as a share of the time that passed. ``processor_ms`` is what all processes of the worker took of
the processors for a frame: two cores that do nothing else reach 0.9 of a bare loop of 4 ms below 8.9 ms.
``memory_mb`` is of all of them, what they share counted once.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from celery import chain, signature

from broker.app import create_app
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.messages import Keeper, SegmentResult, Video
from broker.messages import Segment as WorkSegment
from broker.recipe import Recipe, Stage
from broker.settings import Settings, load_settings
from tasks.frame_store import FrameStore
from tasks.inline_store import with_frames
from tasks.runtime import Runtime
from workers.devices.description import load_description
from workers.downloads.samples import demo_clips
from workers.embedded_weights import SELFIE
from workers.pictures import encode_jpeg
from workers.video import read_candidates
from workers.weights import WeightsStore

SEGMENTS, FRAMES = 24, 40
"""A segment of 20 s has at most 40 frames, at two kept a second."""
LEAD = 4
"""Segments before the timing begins."""
STORED = 8
"""Segments of the store way, which takes five times as long a frame."""
ROUNDS = 3
WAYS = {
    "inline": {"pixels": "inline", "frames": "png"},
    "inline_jpeg": {"pixels": "inline", "frames": "jpeg"},
    "store": {"pixels": "store", "frames": "png"},
}
AIM = 0.9
"""Of the bare loop's frames a second, with frames inside the messages."""
POLL_SECONDS = 0.02
PAGE = """name = "bench"
firmware = "1"
driver = "litert"
pixels = "{pixels}"
frames = "{frames}"
licence = "Apache-2.0"
{processes}
[network]
model = "{model}"
"""


def measure(
    segments: int = SEGMENTS, frames: int = FRAMES, rounds: int = ROUNDS, processes: int = 0
) -> dict[str, Any]:
    """Each way in its rounds; ``processes`` of the worker, 0: its own default."""
    weights = WeightsStore(load_settings().weights_dir)
    model = weights.path(SELFIE)
    pictures = _pictures(weights, frames)
    numbers: dict[str, Any] = {"segments": segments, "frames": frames, "picture": pictures[0].shape[:2]}
    bare = [_bare(model)]
    for way, keys in WAYS.items():
        found: list[dict[str, float]] = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                page = Path(folder) / "me.toml"
                page.write_text(PAGE.format(**keys, model=model, processes=_line(processes)))
                done = _worker(Path(folder), page, pictures, STORED if way == "store" else segments)
            bare.append(_bare(model))
            yardstick = (bare[-2] + bare[-1]) / 2
            found.append({**done, "bare_per_second": yardstick, "ratio": done["per_second"] / yardstick})
        numbers[way] = {"ratio": median(each["ratio"] for each in found), "rounds": found}
    return {**numbers, "bare_per_second": median(bare)}


def _line(processes: int) -> str:
    return f"processes = {processes}" if processes else ""


def _pictures(weights: WeightsStore, count: int) -> list[Any]:
    clip = next(clip for clip in demo_clips(weights) if clip.stem == "SinglePerson_cam03")
    found: list[Any] = []
    while len(found) < count:
        found += [candidate.image() for candidate in read_candidates(clip, 0, 20_000, 8.0, 1)]
    return found[:count]


def _bare(model: Path) -> float:
    """Frames a second of the interpreter alone, in a process that nothing else was loaded into."""
    line = [sys.executable, "-m", "benchmarks.device_throughput", "--bare", str(model)]
    return float(subprocess.run(line, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def bare_main(model: Path, seconds: float = 3.0) -> float:
    """What the process of ``_bare`` does."""
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(model_path=str(model), num_threads=1)
    network.allocate_tensors()
    (given,), (wanted, *_) = network.get_input_details(), network.get_output_details()
    ready = [np.random.default_rng(n).random(given["shape"], np.float32) for n in range(8)]
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        network.set_tensor(given["index"], ready[count % len(ready)])
        network.invoke()
        network.get_tensor(wanted["index"])
        count += 1
    return count / (time.perf_counter() - start)


def _worker(folder: Path, page: Path, pictures: Sequence[Any], segments: int) -> dict[str, float]:
    """The real worker over all segments but the first four."""
    with EmbeddedBroker(folder / "broker") as broker:
        settings = load_settings(home=folder / "state", broker_url=broker.url, inline_max_bytes=64 * 1024**2)
        runtime = Runtime(settings)
        with create_app(settings) as app:
            for work in _segments(runtime, load_description(page).spec, pictures, segments):
                drawn = signature("hardpose.me", args=(work.model_dump(mode="json"),), queue="me", app=app)
                chain(drawn, signature("hardpose.compare", queue="compare", app=app), app=app).apply_async()
        line = [sys.executable, "-m", "api.cli", "worker", "me", "--device", str(page)]
        with (folder / "log").open("wb") as log:
            worker = subprocess.Popen(
                line,
                env={
                    **_plain_environment(),
                    "HARDPOSE_BROKER_URL": broker.url,
                    "HARDPOSE_HOME": str(folder / "state"),
                    "HARDPOSE_INLINE_MAX_BYTES": str(settings.inline_max_bytes),
                },
                stdout=log,
                stderr=log,
            )
        try:
            first, before = _when(runtime.control, LEAD, worker, folder / "log"), _processor(worker.pid)
            last, behind = _when(runtime.control, segments, worker, folder / "log"), _processor(worker.pid)
            memory = _memory(worker.pid)
        finally:
            worker.terminate()
            worker.wait(40)
        inside = _stage_seconds(settings, segments) * (segments - LEAD) / segments
    count = (segments - LEAD) * len(pictures)
    return {
        "per_second": count / (last - first),
        "processor_ms": 1000 * (behind - before) / count,
        "in_stage": inside / (last - first),
        "memory_mb": memory / 1e6,
    }


def _tree(pid: int) -> list[psutil.Process]:
    worker = psutil.Process(pid)
    return [worker, *worker.children()]


def _processor(pid: int) -> float:
    """Seconds that a worker and its processes have had of the processors."""
    times = [process.cpu_times() for process in _tree(pid)]
    return float(sum(each.user + each.system for each in times))


def _memory(pid: int) -> int:
    """Bytes of a worker and its processes, what they share counted once (Linux: proportional set size)."""
    return int(sum(process.memory_full_info().pss for process in _tree(pid)))


def _stage_seconds(settings: Settings, count: int) -> float:
    """Seconds that the stage ``me`` took over all segments, as their results say."""
    with create_app(settings) as app, app.connection_for_read() as connection:
        queue = connection.SimpleQueue("compare")
        results = [queue.get(timeout=10).payload[0][0] for _ in range(count)]
        queue.close()
    return float(sum(result["seconds"]["me"] for result in results))


def _plain_environment() -> dict[str, str]:
    return {
        k: v for k, v in os.environ.items() if not k.startswith("HARDPOSE_") or k == "HARDPOSE_WEIGHTS_DIR"
    }


def _when(control: Control, count: int, worker: "subprocess.Popen[bytes]", log: Path) -> float:
    """When ``count`` results had arrived behind the device; waits for it."""
    deadline = time.monotonic() + 300
    while control.lengths(["compare"])[0]["compare"] < count:
        if worker.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(log.read_text())
        time.sleep(POLL_SECONDS)
    return time.monotonic()


def _segments(runtime: Runtime, device: Any, pictures: Sequence[Any], count: int) -> list[SegmentResult]:
    """Segments as they are sent to the device: with their frames inside, where it reaches no store.

    All show the same frames, at the same times: made ready once.
    """
    height, width = pictures[0].shape[:2]
    video = Video(
        id="sha256:" + "b" * 64,
        source="clip.mp4",
        title="clip",
        width=width,
        height=height,
        duration_ms=count * 20_000,
        size_bytes=1,
        artifact="videos/clip.mp4",
    )
    recipe = Recipe(pose_model=device, mask_model=device, device_model=device)
    first = WorkSegment(job_id="bench", video=video, recipe=recipe, index=0, start_ms=0, end_ms=20_000)
    frames = FrameStore(runtime.artifacts)
    keepers = tuple(_keeper(first, frames, 500 * n, picture) for n, picture in enumerate(pictures))
    result = SegmentResult(segment=first, examined=len(keepers), keepers=keepers)
    if device.route.pixels == "inline":
        result = with_frames(result, frames, runtime.settings.inline_max_bytes)
    spans = [{"index": n, "start_ms": n * 20_000, "end_ms": (n + 1) * 20_000} for n in range(count)]
    return [result.model_copy(update={"segment": first.model_copy(update=span)}) for span in spans]


def _keeper(segment: WorkSegment, frames: FrameStore, time_ms: int, picture: Any) -> Keeper:
    key = segment.artifact_key(Stage.POSE, time_ms, "jpg")
    frames.put(key, encode_jpeg(picture))
    points = ((1.0, 1.0, 0.9),) * 25
    return Keeper(time_ms=time_ms, keypoints=points, box=(0, 0, 9, 9), frame_key=key, phash="0" * 16)


def main() -> int:
    """Prints the numbers; 1 when frames inside the messages are slower than they may be."""
    reader = argparse.ArgumentParser()
    reader.add_argument("--segments", type=int, default=SEGMENTS)
    reader.add_argument("--frames", type=int, default=FRAMES)
    reader.add_argument("--rounds", type=int, default=ROUNDS)
    reader.add_argument("--processes", type=int, default=0)
    reader.add_argument("--out", type=Path)
    reader.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    asked = reader.parse_args()
    if asked.bare:
        print(bare_main(asked.bare))
        return 0
    numbers = measure(asked.segments, asked.frames, asked.rounds, asked.processes)
    text = json.dumps(numbers, indent=2)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")
    return 0 if min(numbers[way]["ratio"] for way in ("inline", "inline_jpeg")) >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
