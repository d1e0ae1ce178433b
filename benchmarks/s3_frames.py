"""Frames a second through the artifact store: an S3 server against a local folder, as the stages use it.

    python -m benchmarks.s3_frames [--frames 300]

Written are encoded frames (1280 x 720) with their masks, segment by segment: 15 of each, through
``tasks.frames.Frames``, the result of a segment behind its pictures. Read are the same frames by a stage on
another machine. Two counts each: one at a time, as a loop over ``Artifacts`` does it, and as the stages do,
by turns segment by segment, so that both have the same machine. The S3 server is SeaweedFS on this machine,
asked directly, and over a wire that holds every piece up for 10 ms, as a network does. Writes
``benchmarks/results/s3_frames.json`` and prints a table; ends with 1 when the stages' way is not 1.5 times
as fast over that wire, or slower than one at a time without it.
"""

import argparse
import contextlib
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.verdict import close
from broker.artifacts import Artifacts
from tasks.frames import Frames

HELPERS = Path(__file__).resolve().parent.parent / "tests" / "helpers"
RESULTS = Path(__file__).parent / "results" / "s3_frames.json"
FRAMES = 300
SEGMENT = 15
"""Kept frames of an average segment (``benchmarks.stub_worker.REAL``)."""
WIDTH, HEIGHT = 1280, 720
FASTER = 1.5
"""What the stages' way gains at least over that wire."""
NO_SLOWER = 0.9
"""Of the speed of one at a time, at least, where no wire is waited for: the rest is noise."""
WIRE_SHARE = 3
"""A third of the frames is enough over the wire, where each takes 20 ms or more."""
DELAY_SECONDS = 0.01
PIECE = 1 << 20
NEAR, FAR = "s3", "s3 over a wire"
EACH, STAGES = "one at a time", "as the stages do"
Keys = list[list[tuple[str, str]]]
"""Of frames with their masks, by segment."""


class SlowWire:
    """Forwards TCP connections to ``port`` of this machine, each piece ``DELAY_SECONDS`` later.

    Attributes:
        port: to connect to instead.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self._to))
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                time.sleep(DELAY_SECONDS)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def stores(folder: Path) -> Iterator[dict[str, Artifacts]]:
    """A folder and an S3 bucket."""
    if str(HELPERS) not in sys.path:
        sys.path.append(str(HELPERS))
    from s3_server import AWS, BUCKET, s3_server

    (folder / "weed").mkdir()
    with s3_server(folder / "weed") as endpoint:
        os.environ.update(AWS | {"AWS_ENDPOINT": endpoint})
        yield {
            "folder": Artifacts(str(folder / "artifacts")),
            NEAR: Artifacts(f"s3://{BUCKET}/bench", temp_dir=folder),
            FAR: _far(endpoint, f"s3://{BUCKET}/far", folder),
        }


def _far(endpoint: str, url: str, folder: Path) -> Artifacts:
    wire = SlowWire(int(endpoint.rpartition(":")[2]))
    os.environ["AWS_ENDPOINT"] = f"http://127.0.0.1:{wire.port}"
    return Artifacts(url, temp_dir=folder)


def pictures() -> tuple[bytes, bytes]:
    """A frame as JPEG of an ordinary film's size (about 0.2 MB) and a mask as PNG."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    frame = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (WIDTH // 2, HEIGHT // 2), (150, 300), 0, 0, 360, 255, -1)
    jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    return jpeg, cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()


def keys(way: str, frames: int) -> Keys:
    """By segment, the keys of each frame and its mask."""
    names = [(f"{way}/frames/{n:06d}.jpg", f"{way}/masks/{n:06d}.png") for n in range(frames)]
    return [names[at : at + SEGMENT] for at in range(0, frames, SEGMENT)]


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def write_each(store: Artifacts, segments: Keys, frame: bytes, mask: bytes) -> None:
    for segment in segments:
        for frame_key, mask_key in segment:
            store.put(frame_key, frame)
            store.put(mask_key, mask)


def write_as_stages(store: Artifacts, segments: Keys, frame: bytes, mask: bytes) -> None:
    for segment in segments:
        with Frames(store) as frames:
            for frame_key, mask_key in segment:
                frames.put(frame_key, frame)
                frames.put(mask_key, mask)


def read_each(store: Artifacts, segments: Keys) -> None:
    for segment in segments:
        for frame_key, _ in segment:
            store.get(frame_key)


def read_as_stages(store: Artifacts, segments: Keys) -> None:
    for segment in segments:
        with Frames(store) as frames:
            frames.expect(key for key, _ in segment)
            for key, _ in segment:
                frames.get(key)


def by_turns(ways: Mapping[str, Callable[[Keys], None]], segments: Mapping[str, Keys]) -> dict[str, float]:
    """Seconds of each of the two ways, segment by segment, now this one first and now the other."""
    spent = dict.fromkeys(ways, 0.0)
    for number in range(len(next(iter(segments.values())))):
        for name in sorted(ways, reverse=number % 2 == 1):
            one = segments[name][number : number + 1]
            spent[name] += seconds(partial(ways[name], one))
    return spent


def measure(store: Artifacts, count: int) -> dict[str, float]:
    """Frames a second (a frame with its mask, written; a frame, read)."""
    frame, mask = pictures()
    write_each(store, keys("warm", SEGMENT), frame, mask)
    segments = {EACH: keys("each", count), STAGES: keys("staged", count)}
    writes = {
        EACH: partial(write_each, store, frame=frame, mask=mask),
        STAGES: partial(write_as_stages, store, frame=frame, mask=mask),
    }
    reads = {EACH: partial(read_each, store), STAGES: partial(read_as_stages, store)}
    written, read = by_turns(writes, segments), by_turns(reads, segments)
    assert store.get(segments[STAGES][-1][-1][0]) == frame
    rates = {f"written {way}": count / took for way, took in written.items()}
    rates |= {f"read {way}": count / took for way, took in read.items()}
    return {what: round(rate, 1) for what, rate in rates.items()}


def run(count: int = FRAMES) -> dict[str, Any]:
    """The table."""
    frame, mask = pictures()
    with tempfile.TemporaryDirectory(prefix="hardpose-s3-") as folder, stores(Path(folder)) as found:
        rates = {
            name: measure(store, count // WIRE_SHARE if name == FAR else count)
            for name, store in found.items()
        }
    return {"frames": count, "frame_bytes": len(frame), "mask_bytes": len(mask), "frames_a_second": rates}


def faults(numbers: dict[str, Any]) -> list[str]:
    """What is slower than it should be, in words."""
    missed = []
    for name, least in ((NEAR, NO_SLOWER), (FAR, FASTER)):
        rates = numbers["frames_a_second"][name]
        for what in ("written", "read"):
            gained = rates[f"{what} {STAGES}"] / rates[f"{what} {EACH}"]
            if gained < least:
                missed.append(
                    f"s3_frames: {name}, {what} {STAGES} is {gained:.2f} times as fast, not {least}"
                )
    return missed


def table(numbers: dict[str, Any]) -> str:
    """The numbers for people."""
    rates = numbers["frames_a_second"]
    lines = [f"{'frames a second':30}" + "".join(f"{name:>16}" for name in rates)]
    lines += [f"{what:30}" + "".join(f"{row[what]:16.1f}" for row in rates.values()) for what in rates[NEAR]]
    return "\n".join(lines)


def main() -> int:
    """Measures, prints and writes; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    return close(run(chosen.frames), chosen.out, table, faults)


if __name__ == "__main__":
    sys.exit(main())
