"""The alert rules and the board: every query asks for what is there, on a real Prometheus."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from a_prometheus import Asked, a_prometheus, promtool
from announced_devices import announce, device_spec
from prometheus_client import REGISTRY, generate_latest
from samples_of_books import a_result, planned

from api.http.request_metrics import RequestMetrics
from api.metrics import collect
from broker.app import create_app
from broker.backlog import Backlog
from broker.egress import Egress
from broker.embedded import EmbeddedBroker
from broker.errors import FunnelMismatch
from broker.parking import ParkedLink, Parking
from broker.presence import Presence, WorkerCard
from broker.recipe import Stage
from broker.settings import load_settings
from broker.work_counts import WorkCounts
from tasks.runtime import Runtime
from workers.metrics import worker_metrics

MONITORING = Path(__file__).resolve().parent.parent / "deploy" / "monitoring"
SCALING = MONITORING.parent / "kubernetes" / "base" / "scaling.yaml"
WAITING, RUNNING = 5, 2
SELECTOR = re.compile(r"\bhardpose_\w+(?:\{[^}]*\})?")


@pytest.fixture(scope="module")
def exposition(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    """What the API and a worker tell of a system in which a bit of everything happens."""
    folder = tmp_path_factory.mktemp("system")
    with EmbeddedBroker(folder / "valkey") as server:
        here = Runtime(load_settings(home=folder, broker_url=server.url))
        _work(here)
        yield collect(here) + _requests() + generate_latest(REGISTRY)


def _work(here: Runtime) -> None:
    segments = planned(here.catalog, 3)
    result = a_result(segments[0])
    here.catalog.settle_segment(result)
    control = here.control
    stages = tuple(stage.value for stage in Stage)
    Presence(control).announce(
        WorkerCard(name="all", host="h", pid=1, queues=stages, version="1", started=1.0)
    )
    WorkCounts(control).tell("h:1", {"pose": RUNNING}, ["pose"])
    Parking(control).park(ParkedLink(job_id="j", position=0, link="x", task_id="t", reason="rate"), 60)
    control.outdated_tool("ytdlp", "2026.1", "it does not understand")
    Egress(control, "home", videos_per_hour=300, burst=5).ask("someone")
    announce(control, device_spec(queue="me.me-2"))
    between = ("mask", "me.me-2")
    Backlog(control).hold("me.me-2", between, "a", {"task": "x"}, ticket="1", job_id="j", rank=3)
    with create_app(here.settings) as app:
        for _ in range(WAITING):
            app.send_task("hardpose.pose", args=(), queue="pose")
    counts = worker_metrics()
    for stage in Stage:
        counts.worked(stage, result.model_copy(update={"keepers": (), "drops": ()}), result)
        counts.segment((stage,), "done")
        counts.segment((stage,), "failed")
    counts.failed(FunnelMismatch.code)
    counts.retried("broker_unavailable")
    counts.link("done")
    counts.fetched("ytdlp", 1000)


def _requests() -> bytes:
    requests = RequestMetrics()
    requests.note("GET", "/metrics", 200, 0.1)
    return requests.text()


@pytest.fixture(scope="module")
def prometheus(exposition: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with a_prometheus(tmp_path_factory.mktemp("prometheus"), exposition) as server:
        yield server


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    assert len(group["rules"]) > 9
    return list(group["rules"])


def board() -> dict[str, Any]:
    return dict(json.loads((MONITORING / "grafana-board.json").read_text()))


def queries() -> list[tuple[str, str]]:
    """``(panel, expression)`` of the whole board, Grafana's own words filled in."""
    panels = [panel for panel in board()["panels"] if panel["type"] != "row"]
    found = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    return [(title, expression.replace("$__rate_interval", "1m")) for title, expression in found]


def scaling() -> dict[str, str]:
    objects = list(yaml.safe_load_all(SCALING.read_text()))
    return {each["metadata"]["name"]: each["spec"]["triggers"][0]["metadata"]["query"] for each in objects}


def test_promtool_reads_the_rules_and_their_own_tests_pass() -> None:
    for what in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]):
        done = subprocess.run(
            [promtool(), *what], cwd=MONITORING, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_speaks_and_is_silent_in_their_tests() -> None:
    cases = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]
    asked = [test for case in cases for test in case["alert_rule_test"]]
    for rule in rules():
        mine = [test for test in asked if test["alertname"] == rule["alert"]]
        assert any(test["exp_alerts"] for test in mine), f"{rule['alert']} never speaks"
        assert any(not test["exp_alerts"] for test in mine), f"{rule['alert']} is never silent"
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_every_query_of_the_board_finds_something(prometheus: Asked) -> None:
    asked = queries()
    assert len(asked) > 30
    empty = [each for each in asked if not prometheus.query(each[1])]
    assert empty == []


def test_every_series_that_a_rule_asks_for_is_told(prometheus: Asked) -> None:
    selectors = {found for rule in rules() for found in SELECTOR.findall(rule["expr"])}
    assert len(selectors) > 9
    assert [each for each in sorted(selectors) if not prometheus.series(each)] == []


def test_every_label_in_a_query_is_one_of_its_series(prometheus: Asked) -> None:
    """A label that a series has not is no error to Prometheus: all would be added up into one."""
    checked = 0
    for expression in [*(rule["expr"] for rule in rules()), *(each for _, each in queries())]:
        told = {
            label
            for selector in SELECTOR.findall(expression)
            for each in prometheus.series(selector)
            for label in each
        }
        made = set(re.findall(r'label_replace\(.*?, "(\w+)", "\$1"', expression))
        for words in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            names = {name.strip() for name in words.split(",")}
            assert names <= told | made, expression
            checked += 1
    assert checked > 30


def test_the_board_stands_in_a_grid_without_gaps_of_ids() -> None:
    panels = board()["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, f"{panel['title']} lies over another"
        taken |= cells


def test_keda_is_told_what_waits_and_what_is_worked_on(prometheus: Asked) -> None:
    asked = scaling()
    assert len(asked) == 5
    for name, query in asked.items():
        (found,) = prometheus.query(query)  # KEDA takes no other answer
        expected = WAITING + RUNNING if name == "worker-pose" else 0
        assert float(found["value"][1]) == expected, name
    # Without the metrics there is no answer, and not a nought that would send the workers away.
    gone = asked["worker-pose"].replace('"pose"', '"nowhere"')
    assert prometheus.query(gone) == []
