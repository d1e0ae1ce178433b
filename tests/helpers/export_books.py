"""A catalog with decided frames and their pictures, for the tests of exports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_jobs import RECIPE, keeper, keypoints, video

from broker.artifacts import Artifacts
from broker.catalog import Catalog
from broker.frame_views import FrameFacts, PoseClass
from broker.messages import Keeper, Segment, SegmentResult, Verdict, Video
from broker.recipe import Recipe


def open_books(folder: Path) -> tuple[Catalog, Artifacts]:
    """The catalog and the store of a home folder."""
    catalog = Catalog(f"sqlite:///{folder / 'catalog.sqlite'}")
    catalog.migrate()
    return catalog, Artifacts((folder / "artifacts").as_uri())


def book(
    catalog: Catalog,
    job_id: str,
    frames: Mapping[str, Sequence[Keeper]],
    recipe: Recipe = RECIPE,
    **changes: Any,
) -> None:
    """A finished job: one segment for each video, with these keepers."""
    catalog.create_job(job_id, recipe, [f"https://example.org/watch?v={name}" for name in frames])
    for position, (name, keepers) in enumerate(frames.items()):
        clip = video(name, **changes)
        catalog.start_link(job_id, position)
        segments = [segment_of(clip, job_id, recipe)]
        for segment in catalog.plan_video(job_id, position, clip, segments):
            facts = {k.time_ms: FrameFacts(pose_class=PoseClass.BENT, doubt=0.25) for k in keepers}
            result = SegmentResult(segment=segment, examined=len(keepers), keepers=tuple(keepers))
            catalog.settle_segment(result, facts)


def segment_of(clip: Video, job_id: str, recipe: Recipe) -> Segment:
    return Segment(job_id=job_id, video=clip, recipe=recipe, index=0, start_ms=0, end_ms=20_000_000)


def book_samples(catalog: Catalog, store: Artifacts, job_id: str = "job-1", videos: int = 4) -> None:
    """Videos ``v0`` and so on, each with three hard frames, two easy ones and a doubtful one.

    The last keypoint of each, the right heel, was not found.
    """
    verdicts = [Verdict.HARD] * 3 + [Verdict.EASY] * 2
    frames = {}
    for number in range(videos):
        clip = video(f"v{number}")
        made = [_sample(store, clip, 1000 * (n + 1), v, 10 * number + n) for n, v in enumerate(verdicts)]
        doubtful = {"device_key": None, "value": 0.9}
        made.append(_sample(store, clip, 9000, Verdict.TEACHER_DOUBT, 10 * number + 7, **doubtful))
        frames[f"v{number}"] = made
    book(catalog, job_id, frames)


def _sample(
    store: Artifacts, clip: Video, time_ms: int, verdict: Verdict, seed: int, **changes: Any
) -> Keeper:
    points = (*keypoints(seed)[:24], (0.0, 0.0, 0.0))
    return keeper(store, clip, time_ms, verdict, seed, keypoints=points, **changes)
