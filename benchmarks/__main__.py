"""``make bench``: every number that the documents state, written as data.

    python -m benchmarks [--only accuracy|overhead|demo|models|volume|scale_out|s3_frames]

Writes ``benchmarks/results/<name>.json`` and ends with 1 when a number misses its bound. Counts are exact;
times are ratios against something that ran in the same minutes, because machines differ and are noisy.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import demo, overhead, s3_frames, scale_out, volume
from benchmarks.verdict import say

RESULTS = Path(__file__).parent / "results"
DEMO_SECONDS = 240
FIRST_LINE_SECONDS = 5
MODEL_BENCHMARKS = ("openpose_assembly", "pose_models", "mask_models", "model_stages")
"""Each in a process of its own: TensorFlow and ONNX Runtime both take the threads they once got."""


def accuracy() -> tuple[dict[str, Any], list[str]]:
    """Exact counts on clips whose answer is known, in a process whose exit status is the verdict."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "accuracy.json"
        line = [sys.executable, "-m", "benchmarks.accuracy", "--out", str(out)]
        done = subprocess.run(line, check=False)
        if not out.exists():
            ended = f"accuracy: it ended with exit status {done.returncode} and wrote no numbers"
            return {"exit_status": done.returncode}, [ended]
        missed = [] if done.returncode == 0 else ["accuracy: an expectation does not hold, see the table"]
        return json.loads(out.read_text()), missed


def shown(measure: Callable[[], dict[str, Any]], module: ModuleType) -> tuple[dict[str, Any], list[str]]:
    """The numbers of a benchmark that has a table and bounds of its own."""
    numbers = measure()
    print(module.table(numbers))
    return numbers, module.faults(numbers)


def demo_run() -> tuple[dict[str, Any], list[str]]:
    """The demo with its weights and clips at hand."""
    numbers = demo.measure()
    missed = []
    if numbers["exit_status"] != 0:
        missed.append(f"demo: exit status {numbers['exit_status']}")
    if numbers["seconds"] > DEMO_SECONDS:
        missed.append(f"demo: {numbers['seconds']} s")
    if numbers["first_line_seconds"] > FIRST_LINE_SECONDS:
        missed.append(f"demo: the first line came after {numbers['first_line_seconds']} s")
    return numbers, missed


def models() -> tuple[dict[str, Any], list[str]]:
    """The report's networks on each runtime, their stages in frames a second, and the assembly of people."""
    numbers: dict[str, Any] = {}
    missed = []
    for name in MODEL_BENCHMARKS:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "numbers.json"
            line = [sys.executable, "-m", f"benchmarks.{name}", "--out", str(out)]
            done = subprocess.run(line, check=False)
            numbers[name] = json.loads(out.read_text()) if out.exists() else {}
        if done.returncode:
            missed.append(f"models: {name} ended with exit status {done.returncode}, see its table")
    return numbers, missed


BENCHMARKS: dict[str, Callable[[], tuple[dict[str, Any], list[str]]]] = {
    "accuracy": accuracy,
    "overhead": lambda: shown(overhead.measure, overhead),
    "demo": demo_run,
    "models": models,
    "volume": lambda: shown(volume.measure, volume),
    "scale_out": lambda: shown(scale_out.measure, scale_out),
    "s3_frames": lambda: shown(s3_frames.run, s3_frames),
}


def main() -> int:
    """Runs the chosen benchmarks and returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=BENCHMARKS, action="append")
    chosen = parser.parse_args().only or list(BENCHMARKS)
    RESULTS.mkdir(exist_ok=True)
    missed: list[str] = []
    for name in chosen:
        numbers, faults = BENCHMARKS[name]()
        (RESULTS / f"{name}.json").write_text(json.dumps(numbers, indent=2) + "\n")
        print(f"== {name}: {'ok' if not faults else 'missed'}, written to {RESULTS / name}.json")
        missed += faults
    return say(missed)


if __name__ == "__main__":
    sys.exit(main())
