"""Devices over HTTP: orders that name one, and what is shown of each."""

from collections.abc import Iterator

import httpx
import pytest
from announced_devices import announce, device_spec
from api_server import PATIENCE, served
from servers_clock import ServersClock

from api.http.progress import Look
from broker.backlog import Backlog
from broker.control import Control
from broker.presence import Presence, WorkerCard
from broker.recipe import ModelSpec, Stage, WeightsRef
from broker.settings import Settings
from tasks.runtime import Runtime

VIDEO = "https://www.youtube.com/watch?v=dQw4w9WgXcQ"


@pytest.fixture
def api(system: Settings, clock: ServersClock) -> Iterator[httpx.Client]:
    """By a clock that stands still: whoever has announced himself stays heard of."""
    with served(system) as url, httpx.Client(base_url=url, verify=False, timeout=PATIENCE) as client:
        yield client


def ordered(api: httpx.Client, settings: Settings, **recipe: str) -> ModelSpec:
    """The device of the job that is ordered."""
    answer = api.post("/jobs", json={"links": [VIDEO], "recipe": recipe})
    assert answer.status_code == 202, answer.text
    return Runtime(settings).catalog.job_light(answer.json()["job_id"]).recipe.device_model


def card(pid: int, stage: Stage, spec: ModelSpec) -> WorkerCard:
    points = tuple(range(25)) if stage == Stage.POSE else ()
    return WorkerCard(
        name=f"{stage}-{pid}@h",
        host="h",
        pid=pid,
        queues=(stage,),
        models={stage: spec},
        points=points,
        version="1",
        started=1.0,
    )


def emulated(name: str) -> ModelSpec:
    ref = WeightsRef(file="w", sha256="ab" * 32, source="pypi:x==1/0!y", licence="MIT", size=1)
    return ModelSpec(name=name, version="1", weights=(ref,))


def test_an_order_names_a_device_that_has_announced_itself(api: httpx.Client, system: Settings) -> None:
    control = Control.of(system)
    announce(control, device_spec("me-1"), pid=1)
    announce(control, device_spec("me-2"), pid=2, silent=86_400)
    assert ordered(api, system, device_model="me-2") == device_spec("me-2")
    refused = api.post("/jobs", json={"links": [VIDEO], "recipe": {"device_model": "me-3"}})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_model")
    assert "me-1, me-2" in refused.json()["remedy"]
    assert "litert" in refused.json()["remedy"]


def test_devices_that_differ_are_no_hindrance_to_an_order(api: httpx.Client, system: Settings) -> None:
    presence, control = Presence(Control.of(system)), Control.of(system)
    presence.announce(card(1, Stage.POSE, emulated("pose-of-theirs")))
    presence.announce(card(2, Stage.MASK, emulated("teacher-of-theirs")))
    presence.announce(card(3, Stage.ME, emulated("device-of-theirs")))
    for pid, name in ((4, "me-1"), (5, "me-2")):
        presence.announce(card(pid, Stage.ME, device_spec(name)))
        announce(control, device_spec(name), pid=pid)
    assert ordered(api, system).name == "device-of-theirs"
    assert ordered(api, system, device_model="me-2") == device_spec("me-2")
    recipe = Runtime(system).catalog.job_light(api.get("/jobs").json()["items"][0]["id"]).recipe
    assert recipe.pose_model.name == "pose-of-theirs"  # found without a process of its own


def test_every_device_is_shown_with_its_units_and_what_waits(api: httpx.Client, system: Settings) -> None:
    control = Control.of(system)
    announce(control, device_spec("me-1", queue="me.me-1"), pid=1)
    announce(control, device_spec("me-2", queue="me.me-2"), pid=2, silent=86_400)
    Presence(control).announce(card(3, Stage.ME, emulated("of-theirs")))
    with control.server() as server:
        server.lpush(f"{control.key('').removesuffix('hardpose:')}me.me-2", "1", "2")
    between = ("mask", "me.me-2")
    Backlog(control).hold("me.me-2", between, "a", {"task": "x"}, ticket="1", job_id="j", rank=3)
    answer = api.get("/devices").json()
    assert answer["workers_known"] is True
    here, away, loaded = answer["items"]
    assert (here["device"], here["firmware"], here["queue"], here["waiting"]) == ("me-1", "1.0", "me.me-1", 0)
    assert (here["name"], here["version"], here["alive"], here["frames"]) == ("http", "me-1@1.0", True, 0)
    (unit,) = here["units"]
    assert (unit["key"], unit["state"], unit["self_test_iou"]) == ("me-1@shelf-7:1", "at_work", 0.9)
    assert (away["alive"], away["waiting"], away["held"]) == (False, 2, 1)
    assert away["units"][0]["state"] == "silent"
    assert here["last_seen"] - away["last_seen"] == 86_400
    assert (loaded["device"], loaded["queue"], loaded["units"], loaded["alive"]) == (
        "of-theirs",
        None,
        [],
        True,
    )
    assert [worker["name"] for worker in loaded["workers"]] == ["me-3@h"]
    assert "shelf" not in here["options"]


def test_progress_says_what_waits_for_the_device(api: httpx.Client, system: Settings) -> None:
    control = Control.of(system)
    announce(control, device_spec("me-2", queue="me.me-2"), silent=3600)
    job = api.post("/jobs", json={"links": [VIDEO], "recipe": {"device_model": "me-2"}}).json()
    runtime = Runtime(system)
    look = Look(lambda: runtime, job["job_id"])
    assert look().device is None
    between = ("mask", "me.me-2")
    Backlog(control).hold("me.me-2", between, "a", {"task": "x"}, ticket="1", job_id=job["job_id"], rank=3)
    progress = look()
    assert progress.eta_seconds is None
    assert progress.device is not None
    assert progress.device.silent_seconds == 3600
    said = progress.device.model_dump(exclude={"silent_seconds"})
    assert said == {"device": "me-2", "segments": 1, "held": 1, "state": "silent"}
    assert look().standing == progress.standing  # it is no news that the clock runs
