"""How good the kept frames are: exact counts on clips whose answer is known, and masks against the truth.

    python benchmarks/accuracy.py --out accuracy.json

Runs the four stages in a plain loop, with the real models and the default recipe. The demo clips come from
a package index; clips with ground truth are found through HARDPOSE_SHARED_DATA or in ``../shared/data`` and
are left out, and said to be, when they are not there. Ends with 1 when an expectation does not hold.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np

from broker.artifacts import Artifacts
from broker.messages import Funnel, Keeper, Recipe, Segment, SegmentResult, Verdict, Video
from broker.settings import Settings, load_settings
from tasks.compare import Compare
from tasks.device_masks import DeviceMasks
from tasks.frames import Frames
from tasks.iou import mask_iou
from tasks.mask_generation import MaskGeneration
from tasks.pose_filter import PoseFilter
from tasks.stage import StageRunner
from workers import models
from workers.contracts import Image, Mask
from workers.video import plan_segments, probe

KEPT = (Verdict.EASY, Verdict.HARD)
DAVIS_FPS = 24
"""DAVIS 2016 at 480p, as the clips here were made: frame i of the clip has mask i."""


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
        Expectation((name,), "hard", most=0)
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
)


@dataclass
class Row:
    """What became of one clip."""

    clip: str
    examined: int
    kept: int
    hard: int
    verdicts: dict[str, int]
    seconds: dict[str, float]
    ious: list[float] = field(default_factory=list)
    teacher_ious: list[float] = field(default_factory=list)
    """IoU of the teacher's mask with the truth, on kept frames of clips with ground truth."""
    device_ious: list[float] = field(default_factory=list)


class Bench:
    """The four stages with the models of ``settings``, loaded once."""

    def __init__(self, settings: Settings, weights: models.Weights, folder: Path) -> None:
        self.folder = folder
        self.artifacts = Artifacts(folder.as_uri())
        self.recipe = Recipe(
            sampling=settings.sampling,
            rule=settings.rule,
            duplicates=settings.duplicates,
            teacher=settings.teacher,
            comparison=settings.comparison,
            pose_model=models.pose_spec(settings),
            mask_model=models.mask_spec(settings),
            device_model=models.device_spec(settings),
        )
        self._settings = settings
        self.stages: tuple[StageRunner, ...] = (
            PoseFilter(models.open_pose(self.recipe.pose_model, weights, settings.threads), settings.threads),
            MaskGeneration(models.open_mask(self.recipe.mask_model, weights, settings.threads)),
            DeviceMasks(models.open_device(self.recipe.device_model, weights, settings.threads)),
            Compare(),
        )
        for stage in self.stages:
            stage.load()

    def run(self, path: Path) -> list[SegmentResult]:
        """Every segment of the clip through every stage."""
        facts = probe(path, self._settings.max_frame_pixels, self._settings.max_duration_seconds)
        video = Video(
            id=f"clip:{path.stem}",
            source=path.name,
            title=path.stem,
            width=facts.width,
            height=facts.height,
            duration_ms=facts.duration_ms,
            size_bytes=path.stat().st_size,
            artifact=f"videos/{path.name}",
        )
        self.artifacts.put(video.artifact, path.read_bytes())
        spans = plan_segments(facts.duration_ms, self.recipe.sampling.segment_seconds)
        return [self._run_segment(video, i, start, end) for i, (start, end) in enumerate(spans)]

    def _run_segment(self, video: Video, index: int, start: int, end: int) -> SegmentResult:
        segment = Segment(
            job_id="accuracy", video=video, recipe=self.recipe, index=index, start_ms=start, end_ms=end
        )
        result, frames = SegmentResult(segment=segment), Frames(self.artifacts)
        for stage in self.stages:
            result = stage.run(result, frames)
        return result

    def row(self, path: Path, results: list[SegmentResult], truth: Path | None) -> Row:
        """The numbers of one clip; ``truth`` is the folder of its masks."""
        funnel = sum((r.funnel() for r in results), Funnel())
        kept = [k for r in results for k in r.keepers if k.verdict in KEPT]
        row = Row(
            clip=path.stem,
            examined=funnel.examined,
            kept=funnel.of(*KEPT),
            hard=funnel.of(Verdict.HARD),
            verdicts={str(v): n for v, n in funnel.verdicts.items()},
            seconds={str(s): round(sum(r.seconds[s] for r in results), 3) for s in results[0].seconds},
            ious=[round(k.iou, 4) for k in kept if k.iou is not None],
        )
        if truth is not None:
            for keeper in kept:
                self._against(truth, keeper, row)
        return row

    def _against(self, truth: Path, keeper: Keeper, row: Row) -> None:
        mask = read_truth(truth, keeper.time_ms)
        frames = Frames(self.artifacts)
        assert keeper.mask_key is not None
        assert keeper.device_key is not None
        row.teacher_ious.append(round(mask_iou(frames.mask(keeper.mask_key), mask), 4))
        row.device_ious.append(round(mask_iou(frames.mask(keeper.device_key), mask), 4))

    def pictures(self, results: list[SegmentResult], folder: Path) -> None:
        """Writes each frame with a mask: the teacher's outline green, the device's red, joints yellow."""
        folder.mkdir(parents=True, exist_ok=True)
        frames = Frames(self.artifacts)
        for result in results:
            for keeper in (k for k in result.keepers if k.mask_key is not None):
                image = draw(frames, keeper)
                name = f"{result.segment.video.title}_{keeper.time_ms:06d}_{keeper.verdict}.jpg"
                cv2.imwrite(str(folder / name), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def read_truth(folder: Path, time_ms: int) -> Mask:
    """The ground truth of the frame at ``time_ms``, H x W bool."""
    path = folder / f"{round(time_ms * DAVIS_FPS / 1000):05d}.png"
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise FileNotFoundError(path)
    return pixels.reshape(*pixels.shape[:2], -1).max(axis=2) > 0


def draw(frames: Frames, keeper: Keeper) -> Image:
    """The frame, H x W x 3 uint8 RGB, with what was found in it."""
    image = frames.image(keeper.frame_key).copy()
    thick = max(1, max(image.shape) // 400)
    for key, colour in ((keeper.device_key, (255, 0, 0)), (keeper.mask_key, (0, 255, 0))):
        if key is not None:
            mask = frames.mask(key).astype(np.uint8)
            outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(image, outlines, -1, colour, thick)
    for x, y, confidence in keeper.keypoints:
        if confidence >= 0.3:
            cv2.circle(image, (int(x), int(y)), 2 * thick, (255, 255, 0), -1)
    return image


def shared_data() -> Path | None:
    """The folder of the evaluation clips, if it is there."""
    given = os.environ.get("HARDPOSE_SHARED_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


def clips_with_truth(demo: list[Path], shared: Path | None) -> Iterator[tuple[Path, Path | None]]:
    """Every clip with the folder of its true masks, if there is one."""
    yield from ((path, None) for path in demo)
    if shared is not None:
        yield from (
            (p, shared / "davis" / "masks" / p.stem) for p in sorted((shared / "davis").glob("*.mp4"))
        )
        yield from ((p, None) for p in sorted((shared / "clips").glob("*.mp4")))


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
    for entry in checks:
        word = {True: "ok", False: "FAILED", None: "left out"}[entry["ok"]]  # type: ignore[index]
        names = ", ".join(entry["clips"])  # type: ignore[arg-type]
        bounds = f"{entry['least']}..{'' if entry['most'] is None else entry['most']}"
        print(f"{word:9} {entry['number']} of {names}: {entry['measured']} (wanted {bounds})")


def measure(bench: Bench, demo: list[Path], only: str, look: Path | None) -> dict[str, Row]:
    """Runs every clip whose name contains ``only``."""
    rows: dict[str, Row] = {}
    for path, truth in clips_with_truth(demo, shared_data()):
        if only in path.stem:
            results = bench.run(path)
            rows[path.stem] = bench.row(path, results, truth)
            if look is not None:
                bench.pictures(results, look)
    return rows


def main() -> int:
    """Measures, prints, writes; 1 when an expectation does not hold."""
    from workers.downloads.samples import demo_clips
    from workers.weights import WeightsStore

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
        report = {"rows": [asdict(row) for row in rows.values()], "expectations": checks}
        report["seconds"] = round(time.perf_counter() - started, 1)  # type: ignore[assignment]
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if any(entry["ok"] is False for entry in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
