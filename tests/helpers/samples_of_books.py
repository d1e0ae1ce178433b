"""What the tests of the catalog book: a video, its plan, a result."""

from typing import Any

from broker.catalog import Catalog
from broker.errors import Action
from broker.messages import Drop, Failure, Keeper, Segment, SegmentResult, Verdict, Video
from broker.recipe import ModelSpec, Recipe, Stage
from broker.views import LinkView

SPEC = ModelSpec(name="m", version="1")
RECIPE = Recipe(pose_model=SPEC, mask_model=SPEC, device_model=SPEC)
FAILURE = Failure(
    code="poison_segment", cause="it ended its worker", action=Action.PERMANENT, stage=Stage.POSE
)


def a_video(name: str = "ab", **changes: Any) -> Video:
    values = {"id": f"sha256:{name}", "source": "clip.mp4", "title": "Clip", "uploader": "Someone"}
    sizes = {"width": 64, "height": 48, "duration_ms": 60_000, "size_bytes": 9, "artifact": f"sources/{name}"}
    return Video(**(values | sizes | changes))


def a_plan(video: Video, count: int, job_id: str = "job", recipe: Recipe = RECIPE) -> list[Segment]:
    return [
        Segment(
            job_id=job_id, video=video, recipe=recipe, index=n, start_ms=n * 20_000, end_ms=(n + 1) * 20_000
        )
        for n in range(count)
    ]


def a_keeper(time_ms: int, iou: float = 0.25) -> Keeper:
    return Keeper(
        time_ms=time_ms,
        keypoints=((1.0, 2.0, 0.5),) * 25,
        box=(0, 1, 2, 3),
        frame_key=f"frames/{time_ms}.jpg",
        phash="0123456789abcdef",
        measures={"margin": 0.5},
        iou=iou,
        verdict=Verdict.HARD,
        value=iou,
    )


def a_result(segment: Segment) -> SegmentResult:
    """Two frames examined, one of them hard."""
    keeper = a_keeper(segment.start_ms + 10)
    drop = Drop(time_ms=segment.start_ms + 20, verdict=Verdict.NO_HEAD, value=0.1)
    return SegmentResult(
        segment=segment, examined=2, keepers=(keeper,), drops=(drop,), seconds={Stage.POSE: 1.5}
    )


def planned(catalog: Catalog, count: int, name: str = "ab", job_id: str = "job") -> list[Segment]:
    catalog.create_job(job_id, RECIPE, [f"{name}.mp4"])
    catalog.start_link(job_id, 0)
    video = a_video(name)
    return catalog.plan_video(job_id, 0, video, a_plan(video, count, job_id))


def link_of(catalog: Catalog, job_id: str = "job", position: int = 0) -> LinkView:
    return catalog.job(job_id).links[position]
