"""What the API tells Prometheus of the whole system: right, cheap, and also with half of it away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from database_work import database_work
from prom_lint import lint
from prometheus_client.parser import text_string_to_metric_families
from samples_of_books import RECIPE, a_result, planned
from sqlalchemy import insert

from api.metrics import collect
from broker.app import create_app
from broker.egress import Egress
from broker.embedded import EmbeddedBroker
from broker.parking import ParkedLink, Parking
from broker.presence import Presence, WorkerCard
from broker.settings import load_settings
from broker.tables import FrameRow
from broker.work_counts import WorkCounts
from tasks.runtime import Runtime

FRAMES = 50_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path_factory.mktemp("valkey")) as broker:
        yield broker


@pytest.fixture
def runtime(server: EmbeddedBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Runtime:
    name = request.node.name.replace("_", "-")
    return Runtime(load_settings(home=tmp_path, broker_url=server.url, namespace=name))


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """``(name, label value, ...) -> value``."""
    families = text_string_to_metric_families(text.decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_what_is_there_is_told(runtime: Runtime) -> None:
    for segment in planned(runtime.catalog, 3)[:2]:
        runtime.catalog.settle_segment(a_result(segment))
    control = runtime.control
    Presence(control).announce(
        WorkerCard(name="a", host="h", pid=1, queues=("pose", "mask"), version="1", started=1.0)
    )
    WorkCounts(control).tell("h:1", {"pose": 1, "me.lab": 2}, ["pose"])
    Parking(control).park(ParkedLink(job_id="j", position=0, link="x", task_id="t", reason="rate"), 60)
    control.outdated_tool("ytdlp", '2026.1"\n\\', "it does not understand")
    Egress(control, "home", videos_per_hour=300, burst=5).ask("someone")
    with create_app(runtime.settings) as app:
        for priority in (0, 3, 9):
            app.send_task("hardpose.pose", args=(), queue="pose", priority=priority)
    text = collect(runtime)
    lint(text.decode())
    told = samples(text)
    expected = {
        ("hardpose_broker_up",): 1,
        ("hardpose_catalog_up",): 1,
        ("hardpose_workers", "pose"): 1,
        ("hardpose_workers", "mask"): 1,
        ("hardpose_workers", "download"): 0,
        ("hardpose_queue_messages", "pose"): 3,
        ("hardpose_queue_messages", "export"): 0,
        ("hardpose_running_messages", "pose"): 1,
        ("hardpose_running_messages", "mask"): 0,
        ("hardpose_running_messages", "me.lab"): 2,
        ("hardpose_queue_stalled_seconds", "mask"): 0,
        ("hardpose_held_messages",): 0,
        ("hardpose_parked_messages", "rate"): 1,
        ("hardpose_tool_alerts", "ytdlp", '2026.1"\n\\'): 1,
        ("hardpose_egress_breaker", "home", "closed"): 1,
        ("hardpose_egress_breaker", "home", "open"): 0,
        ("hardpose_egress_granted", "home"): 1,
        ("hardpose_jobs", "running"): 1,
        ("hardpose_jobs", "failed"): 0,
        ("hardpose_links", "running"): 1,
        ("hardpose_segments", "done"): 2,
        ("hardpose_segments", "open"): 1,
        ("hardpose_examined_frames",): 4,
        ("hardpose_frames", "hard"): 2,
        ("hardpose_frames", "no_head"): 2,
        ("hardpose_hard_frames", "open"): 2,
        ("hardpose_hard_frames", "kept"): 0,
        ("hardpose_exports", "done"): 0,
        ("hardpose_videos",): 1,
    }
    assert {name: told.get(name) for name in expected} == expected


def test_without_the_broker_the_rest_is_told(tmp_path: Path) -> None:
    runtime = Runtime(load_settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0"))
    told = samples(collect(runtime))
    assert told[("hardpose_broker_up",)] == 0
    assert told[("hardpose_catalog_up",)] == 1
    assert ("hardpose_jobs", "done") in told
    assert not [name for name in told if name[0] == "hardpose_queue_messages"]


def test_without_the_catalog_the_rest_is_told(server: EmbeddedBroker, tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="needs the extra hardpose[postgres]")
    away = "postgresql+psycopg://nobody:nothing@127.0.0.1:1/none"
    told = samples(collect(Runtime(load_settings(home=tmp_path, broker_url=server.url, catalog_url=away))))
    assert told[("hardpose_broker_up",)] == 1
    assert told[("hardpose_catalog_up",)] == 0
    assert ("hardpose_workers", "pose") in told


def test_it_is_cheap_with_many_frames(runtime: Runtime) -> None:
    planned(runtime.catalog, 1)
    rows = [
        {
            "video_id": "sha256:ab", "recipe_id": RECIPE.id, "time_ms": n, "segment": 0, "phash": "0" * 16,
            "verdict": "hard" if n % 3 else "easy", "iou": n / FRAMES, "keeper": {}, "review": "open",
        }
        for n in range(FRAMES)
    ]  # fmt: skip
    runtime.catalog._database.write(lambda connection: connection.execute(insert(FrameRow), rows))
    with database_work() as work:
        told = samples(collect(runtime))
        rows = work.taken()
    assert told[("hardpose_hard_frames", "open")] == sum(n % 3 > 0 for n in range(FRAMES))
    # Reviews are counted over an index, all else is in the sums: 60 ms or so on a core that is free.
    assert rows <= 1.2 * FRAMES
