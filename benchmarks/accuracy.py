"""How good the kept frames are: exact counts on clips whose answer is known, and masks against the truth.

    python -m benchmarks.accuracy --out accuracy.json

Runs the four stages in a plain loop, with the real models and the default recipe. The demo clips come from
a package index. Clips and photos with ground truth are found through HARDPOSE_SHARED_DATA or in
``../shared/data``; they are left out, and said to be, when they are not there. Ends with 1 when an
expectation does not hold.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from benchmarks.accuracy_bench import Bench, Row, Truth, davis_truth, photo_groups, photo_truth
from broker.settings import load_settings
from workers.downloads.samples import demo_clips
from workers.weights import WeightsStore


@dataclass(frozen=True)
class Expectation:
    """A number of one clip, or of several together, that has to lie within bounds (both inclusive)."""

    clips: tuple[str, ...]
    number: str
    least: float = 0.0
    most: float = float("inf")


EXPECTATIONS = (
    Expectation(("SinglePerson_cam03",), "kept", least=2),
    Expectation(("SinglePerson_cam04",), "kept", least=2),
    Expectation(("SinglePerson_cam03", "SinglePerson_cam04"), "hard", least=1),
    *(Expectation((f"MultiPerson_cam0{n}",), "kept", most=0) for n in range(1, 5)),
    Expectation(("dance-twirl",), "kept", most=1),
    *(
        Expectation((name,), "kept", most=0)
        for name in (
            "cosmos_test_clip_10s",
            "intel_bottle-detection",
            "intel_car-detection",
            "mmaction2_demo",
            "mmaction2_demo_skeleton",
            "mmpose_posetrack18",
            "video2dataset_test_video",
        )
    ),
    Expectation(("rollerblade", "tennis", "swing"), "teacher_iou", least=0.85),
    Expectation(("photos_one_whole",), "kept", least=3),
    Expectation(("photos_several",), "kept", most=3),
    Expectation(("photos_none",), "kept", most=0),
)


def shared_data() -> Path | None:
    """The folder of the evaluation clips, if it is there."""
    given = os.environ.get("HARDPOSE_SHARED_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


def clips_with_truth(demo: list[Path], shared: Path | None) -> Iterator[tuple[Path, Truth | None]]:
    """Every clip with its true masks, if there are any."""
    yield from ((path, None) for path in demo)
    if shared is not None:
        for path in sorted((shared / "davis").glob("*.mp4")):
            yield path, davis_truth(shared / "davis" / "masks" / path.stem)
        yield from ((path, None) for path in sorted((shared / "clips").glob("*.mp4")))


def measured(rows: dict[str, Row], wanted: Expectation) -> float | None:
    """The number that ``wanted`` speaks of: a sum of counts, or a mean; None when a clip was left out."""
    if any(clip not in rows for clip in wanted.clips):
        return None
    chosen = [rows[clip] for clip in wanted.clips]
    if wanted.number == "teacher_iou":
        values = [iou for row in chosen for iou in row.teacher_ious]
        return fmean(values) if values else 0.0
    return float(sum(getattr(row, wanted.number) for row in chosen))


def check(rows: dict[str, Row]) -> list[dict[str, object]]:
    """Every expectation with what was measured; ``ok`` is None when its clips were left out."""
    out: list[dict[str, object]] = []
    for wanted in EXPECTATIONS:
        value = measured(rows, wanted)
        ok = None if value is None else wanted.least <= value <= wanted.most
        most = None if wanted.most == float("inf") else wanted.most
        out.append(
            {"clips": wanted.clips, "number": wanted.number, "least": wanted.least, "most": most}
            | {"measured": value, "ok": ok}
        )
    return out


def print_table(rows: dict[str, Row], checks: list[dict[str, object]]) -> None:
    """The table for people."""
    print(f"{'clip':36} {'seen':>5} {'kept':>5} {'hard':>5} {'truth':>6} {'ms/frame':>8}  reasons")
    for row in rows.values():
        truth = f"{fmean(row.teacher_ious):.3f}" if row.teacher_ious else "-"
        cost = 1000 * sum(row.seconds.values()) / max(1, row.examined)
        reasons = ", ".join(f"{n} {v}" for v, n in row.verdicts.items())
        print(
            f"{row.clip[:36]:36} {row.examined:5} {row.kept:5} {row.hard:5} {truth:>6} {cost:8.1f}  {reasons}"
        )
    for entry in (c for c in checks if c["ok"] is not None):
        word = "ok" if entry["ok"] else "FAILED"
        names = ", ".join(entry["clips"])  # type: ignore[arg-type]
        bounds = f"{entry['least']}..{'' if entry['most'] is None else entry['most']}"
        print(f"{word:6} {entry['number']} of {names}: {entry['measured']} (wanted {bounds})")
    left_out = sum(c["ok"] is None for c in checks)
    if left_out:
        print(f"{left_out} expectations were left out with their clips")


def measure(bench: Bench, demo: list[Path], only: str, look: Path | None) -> dict[str, Row]:
    """Runs every clip and every group of photos whose name contains ``only``."""
    rows: dict[str, Row] = {}
    shared = shared_data()
    for path, truth in clips_with_truth(demo, shared):
        if only in path.stem:
            results = bench.run(path)
            rows[path.stem] = bench.row(path.stem, results, truth)
            if look is not None:
                bench.pictures(results, look)
    for name, paths in photo_groups(shared / "coco").items() if shared is not None else ():
        if only in name:
            results = [bench.photos(name, paths)]
            true = photo_truth(shared / "coco" / "person_masks", paths) if shared is not None else None
            rows[name] = bench.row(name, results, true if name == "photos_one_whole" else None)
            if look is not None:
                bench.pictures(results, look)
    return rows


def main() -> int:
    """Measures, prints, writes; 1 when an expectation does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the numbers here as JSON")
    parser.add_argument("--only", default="", help="only clips whose name contains this")
    parser.add_argument("--look", type=Path, help="write pictures of every masked frame into this folder")
    args = parser.parse_args()
    settings = load_settings()
    weights = WeightsStore(settings.weights_dir, settings.allow_networks)
    if shared_data() is None:
        print("Clips with ground truth are left out: HARDPOSE_SHARED_DATA is not set.", file=sys.stderr)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="hardpose-accuracy-") as folder:
        bench = Bench(settings, weights, Path(folder))
        rows = measure(bench, demo_clips(weights), args.only, args.look)
    checks = check(rows)
    print_table(rows, checks)
    if args.out:
        report: dict[str, object] = {"rows": [asdict(row) for row in rows.values()], "expectations": checks}
        report["seconds"] = round(time.perf_counter() - started, 1)
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if any(entry["ok"] is False for entry in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
