"""Bytes on a device's wire for each frame: pictures by the artifact store, or inside the messages.

    python -m benchmarks.device_wire [--segments 4] [--frames 40] [--out numbers.json]

A real worker (``hardpose worker --device me.toml``) with the embedded network (256 x 256) does segments of
40 frames of 1280 x 720: 20 s with two kept a second, which is the most that there can be. What it exchanges
with the broker is counted on the wire, without TLS, less what it exchanges while it has nothing to do; what
it exchanges with the artifact store is what the store holds of it afterwards: frames read, masks and results
written. Beside that the broker's memory while 100 such segments wait.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
from celery import chain, signature

from benchmarks.counting_link import CountingLink
from broker.app import create_app
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.messages import Keeper, Segment, SegmentResult, Video, picture_folder, result_folder
from broker.recipe import ModelSpec, Recipe, Stage
from broker.settings import Settings, load_settings
from tasks.frames import Frames
from tasks.inline_way import hand_on
from tasks.runtime import Runtime
from workers.contracts import Image
from workers.devices.description import load_description
from workers.downloads.samples import demo_clips
from workers.embedded_weights import SELFIE
from workers.pictures import encode_png
from workers.video import read_candidates
from workers.weights import WeightsStore

WAYS = {"store": ("store", "png"), "inline PNG": ("inline", "png"), "inline JPEG": ("inline", "jpeg")}
FRAME = (1280, 720)
IDLE_SECONDS = 10
WAITING = 100
"""Segments that wait for a device that is away."""
PAGE = """name = "wire"
firmware = "1"
driver = "litert"
queue = "own"
pixels = "{pixels}"
frames = "{frames}"
[network]
model = "{model}"
"""
OTHER = ModelSpec(name="other", version="1")


def measure(segments: int, frames: int) -> dict[str, Any]:
    """The numbers of each way."""
    weights = WeightsStore(load_settings().weights_dir)
    pictures = _pictures(weights, frames)
    numbers: dict[str, Any] = {"segments": segments, "frames": frames}
    for way, (pixels, kind) in WAYS.items():
        with tempfile.TemporaryDirectory() as name:
            page = Path(name) / "me.toml"
            page.write_text(PAGE.format(pixels=pixels, frames=kind, model=weights.path(SELFIE)))
            numbers[way] = _way(Path(name), page, pictures, segments)
    return numbers


def _pictures(weights: WeightsStore, count: int) -> list[Image]:
    """Frames of all sample clips in turn, RGB, at 1280 x 720."""
    clips = demo_clips(weights)
    each = -(-count // len(clips))
    found = [
        cv2.resize(candidate.image(), FRAME)
        for clip in clips
        for candidate in list(read_candidates(clip, 0, 20_000, 2.0, 1))[:each]
    ]
    return (found * count)[:count]


def _way(folder: Path, page: Path, pictures: Sequence[Image], count: int) -> dict[str, Any]:
    with EmbeddedBroker(folder / "broker") as broker, CountingLink(urlsplit(broker.url).port or 0) as link:
        settings = load_settings(
            home=folder / "state", broker_url=broker.url, inline_max_bytes=64 * 1024**2, device_backlog=10_000
        )
        runtime = Runtime(settings)
        works = _segments(runtime, load_description(page).spec, pictures, count)
        empty = _memory(runtime.control)
        _send(settings, [works[n % count] for n in range(WAITING)])
        waiting = _memory(runtime.control) - empty
        with create_app(settings) as app, app.connection() as connection:
            connection.default_channel.queue_purge("me.wire")
        wire = _on_the_wire(folder, page, settings, link, runtime.control, works)
        store = _through_the_store(runtime, works[0].segment)
    per_frame = {name: value / (count * len(pictures)) for name, value in wire.items() if name != "idle"}
    return {
        "broker_down": per_frame["down"],
        "broker_up": per_frame["up"],
        "store_down": store[0] if works[0].pictures == () else 0.0,
        "store_up": store[1] if works[0].pictures == () else 0.0,
        "idle_per_second": wire["idle"],
        f"broker_memory_of_{WAITING}_segments": waiting,
    }


def _segments(
    runtime: Runtime, device: ModelSpec, pictures: Sequence[Image], count: int
) -> list[SegmentResult]:
    """What is sent to the device, its frames stored."""
    recipe = Recipe(pose_model=OTHER, mask_model=OTHER, device_model=device)
    video = Video(
        id="sha256:" + "b" * 64, source="clip.mp4", title="clip", width=FRAME[0], height=FRAME[1],
        duration_ms=count * 20_000, size_bytes=1, artifact="videos/clip.mp4",
    )  # fmt: skip
    made = []
    for index in range(count):
        start = index * 20_000
        segment = Segment(
            job_id="0123456789ab",
            video=video,
            recipe=recipe,
            index=index,
            start_ms=start,
            end_ms=start + 20_000,
        )
        keepers = tuple(_keeper(runtime, segment, start + 500 * n, each) for n, each in enumerate(pictures))
        result = SegmentResult(segment=segment, examined=len(keepers), keepers=keepers)
        made.append(hand_on(runtime, result, (Stage.ME,)))
    return made


def _keeper(runtime: Runtime, segment: Segment, time_ms: int, picture: Image) -> Keeper:
    """A frame with as many numbers as a real one."""
    frame_key = segment.artifact_key(Stage.POSE, time_ms, "jpg")
    mask_key = segment.artifact_key(Stage.MASK, time_ms, "png")
    Frames(runtime.artifacts).put_image(frame_key, picture)
    runtime.artifacts.put(mask_key, encode_png(picture[:, :, 0]))
    points = tuple((time_ms / 7 + n / 3, n * 10 / 7, 0.9 - n / 300) for n in range(25))
    measures = dict.fromkeys(("margin", "sharpness", "stability", "outside", "contact"), time_ms / 7)
    return Keeper(
        time_ms=time_ms, keypoints=points, box=(10 / 3, 20 / 3, 1000 / 3, 2000 / 3), phash="0123456789abcdef",
        frame_key=frame_key, mask_key=mask_key, measures=measures,
    )  # fmt: skip


def _send(settings: Settings, works: Sequence[SegmentResult]) -> None:
    with create_app(settings) as app:
        for work in works:
            drawn = signature("hardpose.me", args=(work.model_dump(mode="json"),), queue="me.wire", app=app)
            chain(drawn, signature("hardpose.compare", queue="compare", app=app), app=app).apply_async()


def _memory(control: Control) -> int:
    with control.server() as server:
        return int(server.info("memory")["used_memory"])


def _on_the_wire(
    folder: Path,
    page: Path,
    settings: Settings,
    link: CountingLink,
    control: Control,
    works: list[SegmentResult],
) -> dict[str, float]:
    """Bytes each way for all of ``works``, and both ways in a second without work."""
    with _worker(folder, page, settings, link):
        _until(lambda: link.down > 0 and _settled(link))
        start, up, down = time.monotonic(), link.up, link.down
        time.sleep(IDLE_SECONDS)
        idle_up, idle_down = ((now - then) / IDLE_SECONDS for now, then in ((link.up, up), (link.down, down)))
        start, up, down = time.monotonic(), link.up, link.down
        _send(settings, works)
        _until(lambda: control.lengths(["compare"])[0]["compare"] >= len(works))
        time.sleep(2)  # the last acknowledgement and its events
        spent = time.monotonic() - start
        return {
            "up": link.up - up - idle_up * spent,
            "down": link.down - down - idle_down * spent,
            "idle": idle_up + idle_down,
        }


@contextmanager
def _worker(folder: Path, page: Path, settings: Settings, link: CountingLink) -> Iterator[None]:
    url = settings.broker.replace(f":{urlsplit(settings.broker).port}", f":{link.port}")
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith("HARDPOSE_") or k == "HARDPOSE_WEIGHTS_DIR"
    }
    environment = {
        **kept,
        "HARDPOSE_BROKER_URL": url,
        "HARDPOSE_HOME": str(settings.home),
        "HARDPOSE_INLINE_MAX_BYTES": str(settings.inline_max_bytes),
    }
    line = [sys.executable, "-m", "api.cli", "worker", "--device", str(page)]
    with (folder / "log").open("wb") as log:
        worker = subprocess.Popen(line, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(40)


def _settled(link: CountingLink) -> bool:
    """Whether the worker is up: it says little for three seconds, after it has said a lot."""
    before = link.up + link.down
    time.sleep(3)
    return before > 10_000 and link.up + link.down - before < 6_000


def _until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the device's worker has not done its work")
        time.sleep(0.1)


def _through_the_store(runtime: Runtime, segment: Segment) -> tuple[float, float]:
    """Bytes of a frame that a device reads from the store, and that it writes into it."""
    recipe, video = segment.recipe, segment.video.id
    read = picture_folder(Stage.POSE, recipe.stage_id(Stage.POSE), video)
    written = (
        picture_folder(Stage.ME, recipe.stage_id(Stage.ME), video),
        result_folder(recipe.stage_id(Stage.ME), video),
    )
    keys = runtime.artifacts.keys(read)
    down = sum(map(runtime.artifacts.size, keys))
    up = sum(runtime.artifacts.size(key) for folder in written for key in runtime.artifacts.keys(folder))
    return down / len(keys), up / len(keys)


def table(numbers: dict[str, Any]) -> str:
    """The numbers as Markdown, KB and MB of 1000."""
    lines = [
        "| | broker to device | device to broker | store to device | device to store | 100 segments wait |",
        "|---|---|---|---|---|---|",
    ]
    for way in WAYS:
        each = numbers[way]
        cells = [each[name] / 1e3 for name in ("broker_down", "broker_up", "store_down", "store_up")]
        memory = each[f"broker_memory_of_{WAITING}_segments"] / 1e6
        lines.append(f"| {way} | {' | '.join(f'{cell:.1f} KB' for cell in cells)} | {memory:.0f} MB |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    reader = argparse.ArgumentParser()
    reader.add_argument("--segments", type=int, default=4)
    reader.add_argument("--frames", type=int, default=40)
    reader.add_argument("--out", type=Path)
    asked = reader.parse_args()
    numbers = measure(asked.segments, asked.frames)
    if asked.out:
        asked.out.write_text(json.dumps(numbers, indent=2) + "\n")
    print(table(numbers))
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
