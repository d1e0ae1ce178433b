"""Books as an earlier job leaves them: frames, teacher's masks, all stages' results, the device's verdicts.

The person is a red block on dark ground, and the device is a network of one channel that answers with the
red of its 8 x 8 picture: its threshold decides how much of the block's blurred edge it takes.
"""

import io
import random
from pathlib import Path

import numpy as np
from PIL import Image
from skeletons import figure, keypoints
from tiny_tflite import Tiny

from broker.messages import Drop, Keeper, Segment, SegmentResult, Verdict, Video
from broker.priority import Priority
from broker.recipe import CHAIN, ModelSpec, Recipe, Stage
from broker.settings import Settings
from tasks.celery_replay import kept_result
from tasks.frame_facts import facts_by_time
from tasks.pipeline import run_stages, segments_of
from tasks.runtime import Runtime
from workers.models import device_spec

WIDTH, HEIGHT = 64, 48
FIGURES = tuple(
    keypoints(figure(**posture), 40, WIDTH, HEIGHT)
    for posture in ({}, {"turn": 90}, {"trunk": 70, "turn": 90})
)
"""Upright in front, upright from the side, bent."""
_SPEC = ModelSpec(name="blazepose", version="1")
PER_SEGMENT = 10


def red_device(folder: Path) -> Path:
    """The device's file."""
    return Tiny(channels=1, side=8).write(folder / "red.tflite")


def kept_books(settings: Settings, videos: int, frames: int) -> Recipe:
    """Fills catalog and store of ``settings``, whose device judges every frame; returns the recipe.

    Each video has ``frames`` kept frames, in segments of ten, and one frame in each that nobody kept.
    """
    here = Runtime(settings)
    recipe = Recipe(pose_model=_SPEC, mask_model=_SPEC, device_model=device_spec(settings))
    job_id, draw = "earlier", random.Random(7)
    made = [_video(number, frames // PER_SEGMENT) for number in range(videos)]
    here.catalog.create_job(job_id, recipe, [video.source for video in made])
    for position, video in enumerate(made):
        here.artifacts.put(video.artifact, b"a video that is never opened again")
        here.catalog.start_link(job_id, position)
        plan = segments_of(job_id, video, recipe)
        for segment in here.catalog.plan_video(job_id, position, video, plan):
            _judge(here, segment, draw)
    return recipe


def judged_again(settings: Settings, recipe: Recipe, videos: int) -> None:
    """Books what another device makes of the first ``videos`` of ``kept_books``, without a broker."""
    here = Runtime(settings)
    (base, *_) = here.catalog.replays.bases(["earlier"])
    links = dict(list(base.links.items())[:videos])
    places = here.catalog.replays.book(f"again-{recipe.id}", recipe, links, Priority.LOW)
    for video_id, place in places.items():
        video = here.catalog.known_video(video_id)
        assert video is not None
        job_id = f"again-{recipe.id}"
        plan = segments_of(job_id, video, recipe)
        for segment in here.catalog.plan_video(job_id, place.position, video, plan):
            done = run_stages(here, CHAIN[2:], kept_result(here, segment))
            here.catalog.settle_segment(done, facts_by_time(done))


def _video(number: int, segments: int) -> Video:
    return Video(
        id=f"https:clip{number}",
        source=f"https://videos.example/{number}.mp4",
        title=f"Clip <{number}>",
        width=WIDTH,
        height=HEIGHT,
        duration_ms=20_000 * segments,
        size_bytes=9,
        artifact=f"videos/clip{number}.mp4",
    )


def _judge(here: Runtime, segment: Segment, draw: random.Random) -> None:
    keepers = tuple(_keeper(here, segment, segment.start_ms + 500 * n, draw) for n in range(PER_SEGMENT))
    drop = Drop(time_ms=segment.start_ms + 10_000, verdict=Verdict.NO_HEAD, value=0.1)
    result = SegmentResult(segment=segment, examined=PER_SEGMENT + 1, keepers=keepers, drops=(drop,))
    for stage in (Stage.POSE, Stage.MASK):
        result = result.model_copy(update={"seconds": {**result.seconds, stage: 1.5}})
        here.artifacts.put(segment.result_key(stage), result.model_dump_json().encode())
    done = run_stages(here, CHAIN[2:], result)
    here.catalog.settle_segment(done, facts_by_time(done))


def _keeper(here: Runtime, segment: Segment, time_ms: int, draw: random.Random) -> Keeper:
    frame, mask = (
        segment.artifact_key(Stage.POSE, time_ms, "jpg"),
        segment.artifact_key(Stage.MASK, time_ms, "png"),
    )
    width, height = draw.randint(6, 40), draw.randint(6, 40)
    x, y = draw.randrange(WIDTH - width), draw.randrange(HEIGHT - height)
    picture = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    picture[y : y + height, x : x + width, 0] = draw.randint(120, 255)
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    truth[y : y + height, x : x + width] = 255
    here.artifacts.put(frame, _encoded(picture, "JPEG"))
    here.artifacts.put(mask, _encoded(truth, "PNG"))
    box = (x, y, x + width, y + height)
    return Keeper(
        time_ms=time_ms,
        keypoints=FIGURES[time_ms // 500 % 3],
        box=box,
        frame_key=frame,
        mask_key=mask,
        phash=f"{draw.getrandbits(64):016x}",
    )


def _encoded(pixels: np.ndarray, kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()
