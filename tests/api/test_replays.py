"""Replays over HTTP: who may order one, what it becomes, and what is refused."""

from collections.abc import Iterator

import httpx
import pytest
from announced_devices import announce, device_spec
from api_server import PATIENCE, served
from painted_books import RECIPE, painted_books
from pydantic import SecretStr

from broker.app import create_app
from broker.artifacts import Artifacts
from broker.control import Control
from broker.device_register import DeviceRegister
from broker.messages import result_folder
from broker.priority import Priority
from broker.recipe import Recipe, Stage
from broker.settings import Settings
from broker.views import State
from tasks.reconcile import Reconciler
from tasks.replaying import book, plan
from tasks.runtime import Runtime

READER, SENDER = "token-of-reader-0123456789", "token-of-sender-0123456789"


@pytest.fixture
def settings(system: Settings) -> Settings:
    """Books of two jobs, and the masks of one segment of each still kept."""
    tokens = SecretStr(f"reader:read:{READER} sender:enqueue+read:{SENDER}")
    given = system.model_copy(update={"api_tokens": tokens})
    painted_books(given).dispose()
    store = Artifacts(given.artifacts)
    for number in (1, 2):
        folder = result_folder(RECIPE.stage_id(Stage.MASK), f"https:video{number}")
        store.put(f"{folder}/000000000-000020000.json", b"read by the worker alone")
    announce(Control.of(given), device_spec("me-2"), pid=1)
    return given


@pytest.fixture
def api(settings: Settings) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {SENDER}"}
    with served(settings) as url, httpx.Client(base_url=url, headers=headers, timeout=PATIENCE) as client:
        yield client


def test_a_replay_is_a_job_of_the_frames_that_are_kept(api: httpx.Client, settings: Settings) -> None:
    answer = api.post("/replays", json={"device": "me-2"})
    assert answer.status_code == 202, answer.text
    (said,) = answer.json()["replays"]
    assert answer.headers["location"] == said["url"] == f"/jobs/{said['job_id']}"
    assert (said["bases"], said["videos"]) == ([RECIPE.id], 2)
    runtime = Runtime(settings)
    wanted: Recipe = RECIPE.model_copy(update={"device_model": device_spec("me-2")})
    assert said["recipe_id"] == wanted.id
    assert said["job_id"] == plan(runtime, device_spec("me-2"))[0].job_id, "as the command line would have it"
    job = api.get(said["url"]).json()
    assert (job["priority"], job["state"]) == (Priority.LOW, State.RUNNING)
    assert job["segments"] == {"total": 4, "done": 0, "failed": 2}
    links = api.get(f"{said['url']}/links").json()["items"]
    assert [link["state"] for link in links] == [State.RUNNING] * 2
    assert "Signature" not in str(links)
    assert runtime.control.messages(["compare"]) == 2, "one for each segment whose masks are kept"
    assert runtime.control.messages(["download", "pose", "mask", "me"]) == 0
    again = api.post("/replays", json={"device": "me-2", "priority": "high"}).json()["replays"]
    assert [each["job_id"] for each in again] == [said["job_id"]]
    assert api.get(said["url"]).json()["priority"] == Priority.HIGH


def test_some_jobs_or_recipes_alone(api: httpx.Client) -> None:
    (one,) = api.post("/replays", json={"device": "me-2", "jobs": ["job2"]}).json()["replays"]
    (all_of_it,) = api.post("/replays", json={"device": "me-2", "recipes": [RECIPE.id]}).json()["replays"]
    assert (one["videos"], all_of_it["videos"]) == (1, 2)
    assert one["job_id"] != all_of_it["job_id"]


@pytest.mark.parametrize(
    ("order", "status", "code"),
    [
        ({"device": "me-2", "jobs": ["nobody"]}, 404, "not_found"),
        ({"device": "me-9"}, 422, "unknown_model"),
        ({"device": "/etc/passwd"}, 422, "invalid_request"),
        ({"device": "me.tflite"}, 422, "invalid_request"),  # a file is chosen where the workers are
        ({"device": "me-2", "jobs": ["\0"]}, 422, "invalid_request"),
        ({"device": "me-2", "speed": 9}, 422, "invalid_request"),
        ({}, 422, "invalid_request"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    api: httpx.Client, settings: Settings, order: dict[str, object], status: int, code: str
) -> None:
    answer = api.post("/replays", json=order)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(Runtime(settings).catalog.jobs()) == 2


def test_a_device_is_not_tried_on_its_own_frames(api: httpx.Client, settings: Settings) -> None:
    (first,) = api.post("/replays", json={"device": "me-2"}).json()["replays"]
    answer = api.post("/replays", json={"device": "me-2", "jobs": [first["job_id"]]})
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_replay")


def test_a_replay_whose_messages_are_lost_goes_on_without_its_videos(
    api: httpx.Client, settings: Settings
) -> None:
    """As `hardpose up` does at its start, and whenever the broker has lost what it held."""
    (said,) = api.post("/replays", json={"device": "me-2"}).json()["replays"]
    runtime = Runtime(settings)
    with create_app(settings) as app:
        for _ in range(2):
            runtime.control.clear_queue_state()
            assert Reconciler(app, runtime).resend(said["job_id"]) == 2
            assert runtime.control.messages(["compare"]) == 2
            assert runtime.control.messages(["download", "pose", "mask", "me"]) == 0
            assert DeviceRegister(runtime.control).names() == ["me-2"]
        (order,) = plan(runtime, device_spec("me-2"), ["job2"])  # of one that was booked and not yet sent
        book(runtime, order)
        assert Reconciler(app, runtime).resend(order.job_id) == 1
        assert runtime.control.messages(["compare"]) == 3
        assert runtime.control.messages(["download"]) == 0
        assert "failed" in {segment.state for segment in runtime.catalog.job(order.job_id).links[0].segments}
        gone = result_folder(RECIPE.stage_id(Stage.MASK), "https:video1")
        Artifacts(settings.artifacts).delete_prefix(gone)
        assert Reconciler(app, runtime).resend(said["job_id"]) == 2
        assert runtime.control.messages(["download"]) == 1, "the one of which the masks are gone"


def test_who_may_only_read_orders_none(api: httpx.Client) -> None:
    refused = api.post("/replays", json={"device": "me-2"}, headers={"Authorization": f"Bearer {READER}"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    nobody = api.post("/replays", json={"device": "me-2"}, headers={"Authorization": ""})
    assert nobody.status_code == 401
