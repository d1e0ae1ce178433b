"""The four stages in a plain loop on clips and photos, and their masks against the truth."""

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from broker.artifacts import Artifacts
from broker.messages import Funnel, Keeper, Segment, SegmentResult, Verdict, Video
from broker.recipe import Recipe
from broker.settings import Settings
from tasks.compare import Compare
from tasks.device_masks import DeviceMasks
from tasks.frames import Frames
from tasks.iou import mask_iou
from tasks.mask_generation import MaskGeneration
from tasks.pose_filter import PoseFilter
from tasks.stage import StageRunner
from workers import models
from workers.compute import Compute
from workers.contracts import Image, Mask
from workers.video import Candidate, plan_segments, probe

KEPT = (Verdict.EASY, Verdict.HARD)
DAVIS_FPS = 24
"""DAVIS 2016 at 480p, as the clips here were made: frame i of the clip has mask i."""
PHOTO_STEP_MS = 10_000
"""Photos stand so far apart in time that none comes too soon."""
Truth = Callable[[int], Mask]
"""From a frame's time in ms to its true mask."""


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
        compute = Compute(settings.threads)
        self._pose = models.open_pose(self.recipe.pose_model, weights, compute)
        self.stages: tuple[StageRunner, ...] = (
            PoseFilter(self._pose, settings.threads),
            MaskGeneration(models.open_mask(self.recipe.mask_model, weights, compute)),
            DeviceMasks(models.open_device(self.recipe.device_model, weights, compute)),
            Compare(),
        )
        for stage in self.stages:
            stage.load()

    def run(self, path: Path) -> list[SegmentResult]:
        """Every segment of the clip through every stage."""
        facts = probe(path, self._settings.max_frame_pixels, self._settings.max_duration_seconds)
        video = _video(path.stem, facts.duration_ms, facts.width, facts.height)
        self.artifacts.put(video.artifact, path.read_bytes())
        spans = plan_segments(facts.duration_ms, self.recipe.sampling.segment_seconds)
        return [self._run_segment(video, i, a, b, self.stages) for i, (a, b) in enumerate(spans)]

    def _run_segment(
        self, video: Video, index: int, start: int, end: int, stages: tuple[StageRunner, ...]
    ) -> SegmentResult:
        segment = Segment(
            job_id="accuracy", video=video, recipe=self.recipe, index=index, start_ms=start, end_ms=end
        )
        result, frames = SegmentResult(segment=segment), Frames(self.artifacts)
        for stage in stages:
            result = stage.run(result, frames)
        return result

    def photos(self, name: str, paths: list[Path]) -> SegmentResult:
        """Photos as the frames of one segment, ten seconds apart: every photo is looked at."""
        video = _video(name, PHOTO_STEP_MS * len(paths), 1, 1)
        self.artifacts.put(video.artifact, b"photos")
        pose = PoseFilter(self._pose, read=lambda *_: iter(_photos(paths)))
        return self._run_segment(video, 0, 0, video.duration_ms, (pose, *self.stages[1:]))

    def row(self, name: str, results: list[SegmentResult], truth: Truth | None) -> Row:
        """The numbers of one clip; ``truth`` gives the true mask of the frame at a time in ms."""
        funnel = sum((r.funnel() for r in results), Funnel())
        kept = [k for r in results for k in r.keepers if k.verdict in KEPT]
        row = Row(
            clip=name,
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

    def _against(self, truth: Truth, keeper: Keeper, row: Row) -> None:
        mask = truth(keeper.time_ms)
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


@dataclass(frozen=True)
class Photo:
    """A photo in the place of a video's candidate frame."""

    time_ms: int
    path: Path

    def image(self) -> Image:
        """H x W x 3 uint8 RGB."""
        return cv2.cvtColor(_pixels(self.path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.uint8)


def _photos(paths: list[Path]) -> list[Candidate]:
    # A photo offers what a stage asks of a candidate: a time and a picture.
    return [cast(Candidate, Photo(PHOTO_STEP_MS * i, path)) for i, path in enumerate(paths)]


def _video(name: str, duration_ms: int, width: int, height: int) -> Video:
    return Video(
        id=f"clip:{name}",
        source=name,
        title=name,
        width=width,
        height=height,
        duration_ms=duration_ms,
        size_bytes=1,
        artifact=f"videos/{name}",
    )


def _pixels(path: Path, flags: int) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(path), flags)
    if pixels is None:
        raise FileNotFoundError(path)
    return pixels.astype(np.uint8)


def read_mask(path: Path) -> Mask:
    """A mask of ground truth, H x W bool: every pixel that is not black."""
    pixels = _pixels(path, cv2.IMREAD_UNCHANGED)
    mask: Mask = pixels.reshape(*pixels.shape[:2], -1).max(axis=2) > 0
    return mask


def davis_truth(folder: Path) -> Truth:
    """The true masks of a DAVIS clip."""
    return lambda time_ms: read_mask(folder / f"{round(time_ms * DAVIS_FPS / 1000):05d}.png")


def photo_truth(folder: Path, paths: list[Path]) -> Truth:
    """The true masks of photos, in the same order."""
    return lambda time_ms: read_mask(folder / f"{paths[time_ms // PHOTO_STEP_MS].stem}.png")


def photo_groups(folder: Path) -> dict[str, list[Path]]:
    """COCO photos by what they show: one whole person, one not whole, several, nobody."""
    groups: dict[str, list[Path]] = {}
    with (folder / "index.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            people = int(line["n_person_annots"])
            one = "one_whole" if line["single_full_body_by_keypoints"] == "1" else "one_not_whole"
            name = "photos_" + ("none" if not people else one if people == 1 else "several")
            groups.setdefault(name, []).append(folder / "images" / line["file"])
    return groups


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
