"""What lies between two queues: the message, and the pictures that the next stage reads back from the store.

Each is measured by itself. As the difference of a run's CPU time and its stages' seconds, two large numbers,
a message came out as less than nothing.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.capacity.demand import fetched
from benchmarks.volume import run
from broker.artifacts import Artifacts
from broker.recipe import CHAIN, Stage
from tasks.frame_store import FrameStore

VIDEOS = 20
"""Of three segments each: some 25 s with the start of the processes."""


def message_seconds(folder: Path, frames: tuple[int, int], videos: int = VIDEOS) -> float:
    """CPU seconds of one message of one queue: of its worker, both processes, and of the broker.

    Real workers pass real segments on through stages that take no time (``benchmarks.volume``), each stage in
    a queue of its own: messages, tickets, stored results and books are all that is left. CPU time, so it is
    the same beside other programs.

    Args:
        folder: for the run; short, and not there yet.
        frames: of a segment: kept, and not.
        videos: that are sent.
    """
    folder.mkdir(parents=True)
    return seconds_a_message(run(folder, "redis", videos, None, frames))


def seconds_a_message(numbers: Mapping[str, Any]) -> float:
    """CPU seconds of one message, from what ``benchmarks.volume.run`` gave; the downloads are left out."""
    spent = {name: seconds for name, seconds in numbers["cpu_seconds"].items() if not _downloads(name)}
    return float(sum(spent.values()) / (numbers["segments"] * len(CHAIN)))


def _downloads(process: str) -> bool:
    return process.startswith(f"{Stage.DOWNLOAD.value} ")


def picture_seconds(store: Path) -> float:
    """Mean seconds from asking a folder for a stored picture to having its bytes, as a stage asks.

    Args:
        store: the folder of a finished run; without pictures it gives 0.
    """
    kinds = [kind for stage in CHAIN for kind in fetched([stage])]
    keys = [
        path.relative_to(store).as_posix()
        for kind in kinds
        for path in sorted((store / kind).rglob("*"))
        if path.is_file()
    ]
    began = time.perf_counter()
    with FrameStore(Artifacts(str(store))) as pictures:
        pictures.expect(keys)
        for key in keys:
            pictures.get(key)
    return (time.perf_counter() - began) / len(keys) if keys else 0.0
