"""Synthetic jobs with real pictures, for the tests of publishing."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from broker.artifacts import Artifacts
from broker.messages import Drop, Funnel, Keeper, Segment, Verdict, Video
from broker.recipe import ModelSpec, Recipe, Stage, WeightsRef
from broker.views import JobView, LinkView, SegmentView, State

HEIGHT, WIDTH = 96, 128


def recipe() -> Recipe:
    def model(name: str, letter: str) -> ModelSpec:
        weights = WeightsRef(
            file=f"{name}.tflite", sha256=letter * 64, source="file:///w", licence="Apache-2.0", size=1
        )
        return ModelSpec(name=name, version="1.0", weights=(weights,))

    return Recipe(
        pose_model=model("poser", "a"), mask_model=model("teacher", "b"), device_model=model("me", "c")
    )


RECIPE = recipe()


def video(name: str, **changes: Any) -> Video:
    given: dict[str, Any] = {
        "id": f"youtube:{name}",
        "source": f"https://example.org/watch?v={name}",
        "title": f"Dance {name}",
        "uploader": "someone",
        "licence": "CC BY 4.0",
        "width": WIDTH,
        "height": HEIGHT,
        "duration_ms": 20_000,
        "size_bytes": 1,
        "artifact": f"videos/{name}",
    }
    return Video(**{**given, **changes})


def keypoints(seed: int) -> tuple[tuple[float, float, float], ...]:
    draw = np.random.default_rng(seed)
    xy = draw.uniform((4, 4), (WIDTH - 4, HEIGHT - 4), (25, 2))
    return tuple((float(x), float(y), 0.9) for x, y in xy)


def jpeg(seed: int) -> bytes:
    draw = np.random.default_rng(seed)
    pixels = cv2.resize(draw.integers(0, 255, (6, 8, 3), np.uint8), (WIDTH, HEIGHT))
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def png(mask: np.ndarray) -> bytes:
    return cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()


def mask(seed: int) -> np.ndarray:
    """A blob with a hole and a second piece: no polygon describes it."""
    draw = np.random.default_rng(seed)
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    x, y = (int(n) for n in draw.integers(30, 60, 2))
    cv2.ellipse(canvas, (x, y), (14, 26), float(draw.uniform(0, 180)), 0, 360, 1, -1)
    cv2.circle(canvas, (x, y), 5, 0, -1)
    canvas[2:9, 100:110] = 1
    return canvas.astype(bool)


def keeper(
    store: Artifacts, clip: Video, time_ms: int, verdict: Verdict, seed: int, **changes: Any
) -> Keeper:
    """A decided keeper whose pictures are in ``store``."""
    segment = Segment(job_id="j", video=clip, recipe=RECIPE, index=0, start_ms=0, end_ms=20_000)
    keys = {
        "frame_key": segment.artifact_key(Stage.POSE, time_ms, "jpg"),
        "mask_key": segment.artifact_key(Stage.MASK, time_ms, "png"),
        "device_key": segment.artifact_key(Stage.ME, time_ms, "png"),
    }
    store.put(keys["frame_key"], jpeg(seed))
    store.put(keys["mask_key"], png(mask(seed)))
    store.put(keys["device_key"], png(mask(seed + 1000)))
    iou = {Verdict.HARD: 0.1 + seed % 40 / 100, Verdict.EASY: 0.9}.get(verdict)
    given: dict[str, Any] = {
        "time_ms": time_ms,
        "keypoints": keypoints(seed),
        "box": (4, 4, 120, 90),
        "phash": f"{int(np.random.default_rng(seed).integers(0, 2**63)):016x}",
        "measures": {"sharpness": 12.5 + seed, "keypoints_outside": 0.3, "teacher_stability": 0.9},
        "iou": iou,
        "verdict": verdict,
        "value": 0.3 if verdict == Verdict.TEACHER_DOUBT else iou,
        **keys,
    }
    return Keeper(**{**given, **changes})


def segment_view(keepers: Sequence[Keeper] = (), drops: Sequence[Drop] = (), **changes: Any) -> SegmentView:
    """A finished segment whose funnel agrees with its records."""
    verdicts = [k.verdict for k in keepers if k.verdict is not None] + [d.verdict for d in drops]
    given: dict[str, Any] = {
        "index": 0,
        "start_ms": 0,
        "end_ms": 20_000,
        "state": State.DONE,
        "funnel": Funnel.count(verdicts, len(verdicts)),
        "keepers": tuple(keepers),
        "drops": tuple(drops),
        "seconds": {Stage.POSE: 2.5, Stage.MASK: 1.25},
    }
    return SegmentView(**{**given, **changes})


def link_view(position: int, clip: Video, *segments: SegmentView, state: State = State.DONE) -> LinkView:
    return LinkView(position=position, link=clip.source, state=state, video=clip, segments=segments)


def job_view(*links: LinkView) -> JobView:
    return JobView(id="job-1", recipe=RECIPE, created_at="2025-03-01T12:00:00+00:00", links=links)


def two_videos(store: Artifacts) -> JobView:
    """Two videos: four hard frames, one easy, one doubtful, and five drops."""
    a, b = video("aaa"), video("bbb", licence="CC BY-SA 3.0")
    first = segment_view(
        [
            keeper(store, a, 500, Verdict.HARD, 1),
            keeper(store, a, 1500, Verdict.EASY, 2),
            keeper(store, a, 2500, Verdict.HARD, 3),
        ],
        [Drop(time_ms=t, verdict=Verdict.NO_FEET, value=0.1) for t in (125, 250, 375)],
    )
    second = segment_view(
        [
            keeper(store, b, 1000, Verdict.HARD, 4),
            keeper(store, b, 2000, Verdict.TEACHER_DOUBT, 5, device_key=None, value=0.9),
            keeper(store, b, 3000, Verdict.HARD, 6),
        ],
        [
            Drop(time_ms=125, verdict=Verdict.NO_PERSON, value=0),
            Drop(time_ms=250, verdict=Verdict.FAILED, value=-1),
        ],
    )
    return job_view(link_view(0, a, first), link_view(1, b, second))


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
