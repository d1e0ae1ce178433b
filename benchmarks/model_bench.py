"""What the benchmarks of the heavy models share: options, alternating runs, the chip's peak, the table."""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from workers.compute import Compute
from workers.errors import OutOfMemory
from workers.onnx_graph import GraphWriter
from workers.onnx_runtime import OnnxModel

TEST_HELPERS = Path(__file__).parent.parent / "tests" / "helpers"
PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "opencv-python-headless",
)
PEAK_SIDE, PEAK_PRODUCTS = {"gpu": 8192, "cpu": 1024}, 10
"""Sides of the square matrices whose product measures the peak, and products in one call."""


@dataclass(frozen=True)
class Contender:
    """One runtime with one precision and batch.

    Attributes:
        runtime: its name.
        precision: "fp32" or "fp16".
        batch: images in a call.
        call: works on one batch; returns how many people it found.
        flops: of one call, given the number of people (a multiplication and an addition are two).
    """

    runtime: str
    precision: str
    batch: int
    call: Callable[[], int]
    flops: Callable[[int], float]


@dataclass
class Row:
    """What was measured of one contender.

    Attributes:
        first_seconds: of the first call, with everything that is done once.
        seconds: of each further call.
        found: people in a batch.
        failed: why there are no numbers.
        peak_share: of the chip's measured peak in this precision.
    """

    runtime: str
    precision: str
    batch: int
    first_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)
    found: int = 0
    failed: str = ""
    frames_per_second: float = 0.0
    tflops: float = 0.0
    peak_share: float | None = None


def parser(description: str, image_size: str, runtimes: str) -> argparse.ArgumentParser:
    """The options that both benchmarks have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--image-size", default=image_size, help="of the network's input (%(default)s)")
    options.add_argument("--runtimes", type=_names, default=runtimes, help="comma-separated (%(default)s)")
    options.add_argument("--batch", type=_numbers, default="1", help="comma-separated (%(default)s)")
    options.add_argument(
        "--precision", type=_names, default="fp32", help="fp32, fp16 or both, comma-separated"
    )
    options.add_argument("--providers", type=_names, default="", help="cuda, tensorrt, cpu; none: as found")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options.add_argument("--repeats", type=int, default=5, help="timed calls of each (%(default)s)")
    options.add_argument("--peak", action="store_true", help="measure the chip's peak on a CPU too")
    options.add_argument("--out", type=Path, help="write the JSON object there too")
    return options


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in _names(text))


def compute_of(options: argparse.Namespace) -> Compute:
    """Threads and providers of the command line."""
    return Compute(threads=options.threads, providers=options.providers)


@contextmanager
def test_writers() -> Iterator[Path]:
    """The writers of random weights importable, and an empty folder that is removed afterwards."""
    sys.path.insert(0, str(TEST_HELPERS))
    try:
        with tempfile.TemporaryDirectory(prefix="hardpose-bench-") as folder:
            yield Path(folder)
    finally:
        sys.path.remove(str(TEST_HELPERS))


def measure(contenders: Sequence[Contender], repeats: int) -> list[Row]:
    """Times all contenders in turns, so that what else the machine does falls on all of them."""
    rows = [Row(one.runtime, one.precision, one.batch) for one in contenders]
    pairs = list(zip(contenders, rows, strict=True))
    for one, row in pairs:
        row.first_seconds = _timed(one, row)
    for _ in range(repeats):
        for one, row in pairs:
            if not row.failed:
                row.seconds.append(_timed(one, row))
    for one, row in pairs:
        seconds = [second for second in row.seconds if second]
        if seconds:
            row.frames_per_second = one.batch / statistics.median(seconds)
            row.tflops = one.flops(row.found) / statistics.median(seconds) / 1e12
    return rows


def _timed(one: Contender, row: Row) -> float:
    start = time.perf_counter()
    try:
        row.found = one.call()
    except OutOfMemory as error:
        row.failed = error.cause[:200]
        return 0.0
    return time.perf_counter() - start


def ratios(rows: Sequence[Row], of: str, to: str) -> dict[str, float]:
    """``precision batch`` -> time of the runtime ``of`` over that of ``to``, median of the pairs."""
    by_key = {(row.runtime, row.precision, row.batch): row.seconds for row in rows if row.seconds}
    found = {}
    for (runtime, precision, batch), seconds in by_key.items():
        other = by_key.get((to, precision, batch))
        if runtime == of and other:
            pairs = [mine / theirs for mine, theirs in zip(seconds, other, strict=True)]
            found[f"{precision} {batch}"] = statistics.median(pairs)
    return found


def add_peaks(rows: Sequence[Row], compute: Compute, folder: Path) -> dict[str, float]:
    """Measures the chip's peak in each precision, in TFLOP/s, and gives every row its share."""
    peaks = {precision: peak(precision, compute, folder) for precision in {row.precision for row in rows}}
    for row in rows:
        row.peak_share = row.tflops / peaks[row.precision]
    return peaks


def peak(precision: str, compute: Compute, folder: Path, repeats: int = 5) -> float:
    """TFLOP/s of products of large matrices on the same runtime, the best of ``repeats`` calls.

    On a GPU, fp32 is what ONNX Runtime makes of it: TF32 on the chips that have it.
    """
    on_gpu = any(name != "cpu" for name in compute.providers)
    side, kind = PEAK_SIDE["gpu" if on_gpu else "cpu"], np.float16 if precision == "fp16" else np.float32
    graph = GraphWriter(half=precision == "fp16")
    matrix = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32) / np.sqrt(side)
    weights = graph.weights(matrix)
    x = graph.op("Mul", weights, graph.cast("scale", kind))  # not constant, and nothing to carry there
    for _ in range(PEAK_PRODUCTS):
        x = graph.op("MatMul", x, weights)
    graph.rename(graph.op("ReduceMean", graph.cast(x, np.float32), keepdims=0), "mean")
    path = folder / f"peak-{precision}.onnx"
    graph.save(path, "peak", {"scale": (np.float32, (1,))}, {"mean": (np.float32, ())}, {})
    model = OnnxModel(path, compute, precision == "fp16")
    best = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        model.run({"scale": np.ones(1, np.float32)})
        best = min(best, time.perf_counter() - start)
    return 2.0 * side**3 * PEAK_PRODUCTS / best / 1e12


def report(
    name: str, options: argparse.Namespace, rows: Sequence[Row], more: dict[str, Any]
) -> dict[str, Any]:
    """Prints the table and one JSON object; returns the object."""
    given = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    numbers = {"benchmark": name, "options": given, "machine": machine(), "rows": [asdict(r) for r in rows]}
    numbers |= more
    print(table(rows))
    print(json.dumps(numbers))
    if options.out:
        options.out.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    return numbers


def table(rows: Sequence[Row]) -> str:
    """The rows for a person to read."""
    titles = ("runtime", "prec.", "batch", "first s", "s/call", "frames/s", "TFLOP/s", "of peak", "people")
    lines = ["{:12} {:5} {:>5} {:>8} {:>8} {:>9} {:>8} {:>8} {:>6}".format(*titles)]
    for row in rows:
        head = f"{row.runtime:12} {row.precision:5} {row.batch:5}"
        if row.failed or not row.seconds:
            lines.append(f"{head} {row.failed or 'not measured'}")
            continue
        share = "" if row.peak_share is None else f"{row.peak_share:.1%}"
        lines.append(
            f"{head} {row.first_seconds:8.2f} {statistics.median(row.seconds):8.3f} "
            f"{row.frames_per_second:9.2f} {row.tflops:8.3f} {share:>8} {row.found:6}"
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Where this was measured."""
    found: dict[str, Any] = {"system": platform.platform(), "cores": os.cpu_count()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
