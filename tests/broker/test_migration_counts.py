"""A catalog that revision 0002 has written: after the upgrade each analysis has the sums of its segments."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from samples_of_books import FAILURE, RECIPE, a_keeper, a_video
from sqlalchemy import Connection, text

from broker import database as database_module
from broker.catalog import Catalog
from broker.database import Database
from broker.frame_views import FrameFilter, Review
from broker.messages import Funnel
from broker.recipe import ModelSpec, Recipe, Stage
from broker.views import State
from broker.work_views import Priority, SegmentCounts

ANALYSES = 601
"""More than are read at once."""
NOW = "2026-01-01T00:00:00.000+00:00"
LATER = "2026-01-02T00:00:00.000+00:00"
RECIPES = tuple(
    RECIPE.model_copy(update={"device_model": ModelSpec(name="m", version=str(n))}) for n in range(2)
)
Rows = dict[str, list[dict[str, Any]]]


def make_0002(url: str, tables: Rows) -> None:
    """The tables as the migrations themselves made them up to 0002, and rows in them."""

    def work(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for table, rows in tables.items():
            names = ", ".join(f'"{name}"' for name in rows[0])
            marks = ", ".join(f":{name}" for name in rows[0])
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), rows)

    database = Database(url)
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    database.write(work)
    database.dispose()


def rows_of_0002() -> Rows:
    draw = random.Random(3)
    videos = [a_video(id=f"youtube:{'aA_b'[n % 4]}{n:05}") for n in range(ANALYSES // 2 + 1)]
    pairs = [(video.id, recipe.id) for recipe in RECIPES for video in videos][:ANALYSES]
    segments = [_segment(draw, *pair, n) for pair in pairs for n in range(draw.randrange(4))]
    said = {"source", "title", "uploader", "licence", "duration_ms"}
    keeper = a_keeper(10)
    return {
        "recipes": [{"id": recipe.id, "json": recipe.model_dump_json()} for recipe in RECIPES],
        "jobs": [{"id": f"job{n}", "recipe_id": RECIPES[n].id, "created_at": NOW} for n in range(2)],
        "videos": [{"id": v.id, "json": v.model_dump_json(), **v.model_dump(include=said)} for v in videos],
        "links": [
            {"job_id": f"job{n}", "position": at, "link": v.id, "state": "done", "video_id": v.id}
            | {"updated_at": NOW}
            for n in range(2)
            for at, v in enumerate(videos)
        ],
        "analyses": [{"video_id": video, "recipe_id": recipe} for video, recipe in pairs],
        "segments": segments,
        "frames": [
            {"video_id": videos[0].id, "recipe_id": RECIPES[0].id, "time_ms": 10, "segment": 0}
            | {"verdict": "hard", "value": 0.25, "iou": 0.25, "phash": keeper.phash}
            | {"keeper": keeper.model_dump_json()}
        ],
    }


def _segment(draw: random.Random, video: str, recipe: str, index: int) -> dict[str, Any]:
    state = draw.choice(("done", "done", "failed", "queued"))
    funnel = Funnel(examined=7, verdicts={"hard": draw.randrange(8), "easy": 1}) if state == "done" else None
    return {
        "video_id": video,
        "recipe_id": recipe,
        "index": index,
        "start_ms": index * 20_000,
        "end_ms": (index + 1) * 20_000,
        "state": state,
        "ticket": "t",
        "funnel": funnel.model_dump_json() if funnel else None,
        "seconds": json.dumps({"pose": 0.5 * draw.randrange(9)}) if funnel else None,
        "failure": FAILURE.model_dump_json() if state == "failed" else None,
        "updated_at": draw.choice((NOW, LATER)),
    }


def test_the_sums_of_what_was_booked_before(url: str) -> None:
    tables = rows_of_0002()
    make_0002(url, tables)
    catalog = Catalog(url)
    catalog.migrate()
    for n, recipe in enumerate(RECIPES):
        mine = [segment for segment in tables["segments"] if segment["recipe_id"] == recipe.id]
        assert len(mine) > 200
        check(catalog, f"job{n}", recipe, mine)
    (frame,) = catalog.frames.page(FrameFilter()).items
    assert (frame.review, frame.pose_class, frame.doubt) == (Review.OPEN, None, None)
    catalog.dispose()


def check(catalog: Catalog, job_id: str, recipe: Recipe, segments: list[dict[str, Any]]) -> None:
    states = Counter(segment["state"] for segment in segments)
    funnels = [Funnel.model_validate_json(segment["funnel"]) for segment in segments if segment["funnel"]]
    seconds = [json.loads(segment["seconds"])["pose"] for segment in segments if segment["seconds"]]
    job = catalog.work.summary(job_id)
    assert job.segments == SegmentCounts(total=len(segments), done=states["done"], failed=states["failed"])
    assert job.funnel == sum(funnels, Funnel())
    assert job.seconds == {Stage.POSE: sum(seconds)}
    assert (job.state, job.priority, job.cancelled_at) == (State.DONE, Priority.NORMAL, None)
    assert (job.recipe_id, job.updated_at) == (recipe.id, LATER)
    link = next(link for link in catalog.work.links(job_id, 500).items if link.segments.total > 1)
    own = [segment for segment in segments if segment["video_id"] == link.video_id]
    assert link.segments.total == len(own)
