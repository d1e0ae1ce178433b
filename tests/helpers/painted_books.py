"""A small catalog with real pictures: two videos, two jobs, and frames of every kind that a page can show."""

import io

import numpy as np
from PIL import Image, ImageDraw

from broker.artifacts import Artifacts
from broker.catalog import Catalog
from broker.messages import Keeper, Segment, SegmentResult, Verdict, Video
from broker.recipe import ModelSpec, Recipe, Stage, WeightsRef
from broker.settings import Settings

WIDTH, HEIGHT = 640, 360
SECRET = "s3cr3tsignature"
SPEC = ModelSpec(name="blazepose", version="1")
DEVICE = ModelSpec(
    name="litert",
    version="file-me",
    weights=(
        WeightsRef(
            file="me.tflite",
            sha256="ab" * 32,
            source="file:///home/someone/private/me.tflite",
            licence="unknown",
            size=9,
        ),
    ),
    options={"threshold": 0.5},
)
RECIPE = Recipe(pose_model=SPEC, mask_model=SPEC, device_model=DEVICE)
TEACHER_BOX = (200, 60, 360, 340)
DEVICE_BOX = (240, 60, 400, 340)
"""The device misses the left 40 columns and adds 40 on the right."""


def painted_books(settings: Settings) -> Catalog:
    """Fills the catalog and the artifact store of ``settings``."""
    catalog, store = Catalog(settings.catalog), Artifacts(settings.artifacts)
    catalog.migrate()
    for number in (1, 2):
        job = f"job{number}"
        catalog.create_job(job, RECIPE, [f"https://videos.example/{number}.mp4?Signature={SECRET}"])
        catalog.start_link(job, 0)
        segments = [_segment(job, a_video(number), index) for index in (0, 1)]
        for segment in catalog.plan_video(job, 0, a_video(number), segments):
            catalog.settle_segment(_result(segment, store))
    return catalog


def a_video(number: int) -> Video:
    return Video(
        id=f"https:video{number}",
        source=f"https://videos.example/{number}.mp4?Signature={SECRET}",
        title=f"Video <{number}>",
        width=WIDTH,
        height=HEIGHT,
        duration_ms=40_000,
        size_bytes=9,
        artifact=f"videos/video{number}.mp4",
    )


def frame_id(number: int = 1, time_ms: int = 1000) -> str:
    return f"https:video{number}.{RECIPE.id}.{time_ms}"


def _segment(job: str, video: Video, index: int) -> Segment:
    return Segment(
        job_id=job,
        video=video,
        recipe=RECIPE,
        index=index,
        start_ms=index * 20_000,
        end_ms=(index + 1) * 20_000,
    )


def _result(segment: Segment, store: Artifacts) -> SegmentResult:
    """Three frames: a hard one, an easy one, and one that the teacher did not know what to do with."""
    kinds = ((Verdict.HARD, 0.25), (Verdict.EASY, 0.75), (Verdict.TEACHER_NONE, None))
    keepers = tuple(
        _keeper(segment, segment.start_ms + 1000 * (n + 1), verdict, iou, store)
        for n, (verdict, iou) in enumerate(kinds)
    )
    return SegmentResult(segment=segment, examined=3, keepers=keepers, seconds={Stage.POSE: 1.5})


def _keeper(segment: Segment, time_ms: int, verdict: Verdict, iou: float | None, store: Artifacts) -> Keeper:
    keys = {
        "frame_key": segment.artifact_key(Stage.POSE, time_ms, "jpg"),
        "mask_key": segment.artifact_key(Stage.MASK, time_ms, "png") if iou is not None else None,
        "device_key": segment.artifact_key(Stage.ME, time_ms, "png") if iou is not None else None,
    }
    store.put(str(keys["frame_key"]), jpeg())
    if iou is not None:
        store.put(str(keys["mask_key"]), png(TEACHER_BOX))
        store.put(str(keys["device_key"]), png(DEVICE_BOX))
    return Keeper(
        time_ms=time_ms,
        keypoints=((1.0, 2.0, 0.5),) * 25,
        box=TEACHER_BOX,
        phash="0123456789abcdef",
        measures={"margin": 0.5},
        iou=iou,
        verdict=verdict,
        value=iou if iou is not None else 0.0,
        **keys,
    )


def jpeg(size: tuple[int, int] = (WIDTH, HEIGHT), grey: int = 90) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (grey, grey, grey)).save(out, "JPEG", quality=90)
    return out.getvalue()


def png(box: tuple[int, int, int, int], size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    picture = Image.new("L", size, 0)
    ImageDraw.Draw(picture).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=255)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))
