"""A catalog of an older release, with work in it, becomes today's and loses nothing."""

import json
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from samples_of_books import FAILURE, RECIPE, a_keeper, a_plan, a_result, a_video
from sqlalchemy import Connection, text

from broker import database as database_module
from broker.catalog import Catalog, JobConflict
from broker.database import Database
from broker.intake import Intake
from broker.views import JobView, State

OLD = {"uploader_id", "channel_id", "upload_date", "format_id", "sha256", "tool", "tool_version"}
"""Fields of a video that a release of revision 0001 did not know."""


def make_0001(url: str) -> None:
    """The tables of revision 0001: a job with a video of two segments, one done and one failed."""

    def work(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table, values in rows_of_0001().items():
            for row in values:
                names = ", ".join(f'"{name}"' for name in row)
                marks = ", ".join(f":{name}" for name in row)
                connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), row)

    database = Database(url)
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    database.write(work)
    database.dispose()


def rows_of_0001() -> dict[str, list[dict[str, object]]]:
    video, keeper, now = a_video(), a_keeper(10), "2026-01-01T00:00:00.000+00:00"
    analysis = {"video_id": video.id, "recipe_id": RECIPE.id}
    failure = FAILURE.model_dump_json(exclude={"tool", "tool_version"})
    result = a_result(a_plan(video, 1)[0])
    segment = {**analysis, "ticket": "t", "updated_at": now}
    link = {"job_id": "old", "updated_at": now}
    return {
        "recipes": [{"id": RECIPE.id, "json": RECIPE.model_dump_json()}],
        "jobs": [{"id": "old", "recipe_id": RECIPE.id, "created_at": now}],
        "videos": [
            {
                "id": video.id,
                "json": video.model_dump_json(exclude=OLD),
                **video.model_dump(include={"source", "title", "uploader", "licence", "duration_ms"}),
            }
        ],
        "links": [
            {**link, "position": 0, "link": "clip.mp4", "state": "partial", "video_id": video.id}
            | {"failure": failure},
            {**link, "position": 1, "link": "b.mp4", "state": "queued"},
        ],
        "analyses": [analysis],
        "segments": [
            {**segment, "index": 0, "start_ms": 0, "end_ms": 20_000, "state": "done"}
            | {"funnel": result.funnel().model_dump_json(), "seconds": json.dumps({"pose": 1.5})}
            | {"drops": json.dumps([drop.model_dump(mode="json") for drop in result.drops])},
            {**segment, "index": 1, "start_ms": 20_000, "end_ms": 40_000, "state": "failed"}
            | {"failure": failure},
        ],
        "frames": [
            {**analysis, "time_ms": 10, "segment": 0, "verdict": "hard", "value": 0.25, "iou": 0.25}
            | {"phash": keeper.phash, "keeper": keeper.model_dump_json()}
        ],
    }


def test_the_work_of_before_is_all_there(url: str) -> None:
    make_0001(url)
    catalog = Catalog(url)
    catalog.migrate()
    catalog.migrate()
    job = catalog.job("old")
    first, second = job.links
    assert (first.state, first.failure, first.video) == (State.PARTIAL, FAILURE, a_video())
    assert [segment.state for segment in first.segments] == [State.DONE, State.FAILED]
    assert first.segments[0].keepers == (a_keeper(10),)
    assert (second.state, second.video) == (State.QUEUED, None)
    assert job.intake == Intake()
    assert job.videos == job.links
    assert {(link.parent, link.listed, link.list_title, link.list_complete) for link in job.links} == {
        (None, None, "", True)
    }
    assert job.funnel().check().examined == 2


def test_the_work_of_before_goes_on(url: str) -> None:
    make_0001(url)
    catalog = Catalog(url)
    catalog.migrate()
    with pytest.raises(JobConflict, match="licences"):
        catalog.create_job("old", RECIPE, [], Intake(licences="cc"))
    assert catalog.known_reasons("old") == {"permanent": 1, "poison_segment": 1}
    assert catalog.retry(["poison_segment"]) == {"old": [0]}
    (segment,) = catalog.plan_video("old", 0, a_video(), a_plan(a_video(), 2, "old"))
    catalog.settle_segment(a_result(segment))
    assert catalog.list_link("old", 1, ["x"], "", True)[0].position == 2
    catalog.create_job("old", RECIPE, ["clip.mp4", "b.mp4"])
    after: JobView = catalog.job("old")
    assert [link.state for link in after.links] == [State.DONE, State.DONE, State.QUEUED]
    assert catalog.claim("youtube:x", "me", 60)
