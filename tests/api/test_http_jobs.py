"""Jobs over HTTP: what an order becomes, what it may name, and that no model is needed to take one."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import PATIENCE, served
from redis_servers import until
from servers_clock import servers_clock

from api.http import jobs
from api.http.job_orders import JobOrder, RecipeOrder
from api.orders import job_id_of
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.intake import Intake
from broker.presence import Presence, WorkerCard
from broker.priority import Priority
from broker.recipe import ModelSpec, Sampling, Stage, WeightsRef
from broker.settings import Settings, load_settings
from tasks.runtime import Runtime

HELPERS = Path(__file__).resolve().parent.parent / "helpers"
VIDEO = "https://www.youtube.com/watch?v=dQw4w9WgXcQ"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("clips")
    for name in ("one.mp4", "two.mp4", "notes.txt"):
        (made / name).write_bytes(b"not a video")
    return made


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory, server: EmbeddedBroker, folder: Path) -> Settings:
    home = tmp_path_factory.mktemp("orders") / "state"
    return load_settings(home=home, broker_url=server.url, namespace="orders", api_folders=(folder,))


@pytest.fixture(scope="module")
def api(books: Settings) -> Iterator[httpx.Client]:
    with served(books) as url, client_of(url) as client:
        yield client


def client_of(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, verify=False, timeout=PATIENCE)


def placed(api: httpx.Client, **order: Any) -> dict[str, Any]:
    answer = api.post("/jobs", json={"links": [VIDEO], **order})
    assert answer.status_code == 202, answer.text
    said: dict[str, Any] = answer.json()
    assert answer.headers["location"] == said["url"] == f"/jobs/{said['job_id']}"
    return said


def test_an_order_is_the_job_that_the_command_line_makes(api: httpx.Client, books: Settings) -> None:
    recipe = Runtime(books).recipe()
    short = "youtu.be/dQw4w9WgXcQ"
    said = placed(api, links=[VIDEO, short])  # one video in two spellings
    assert said["links"] == 1 and said["job_id"] == job_id_of([VIDEO], recipe)
    assert placed(api)["job_id"] == said["job_id"]
    rules = Intake(licences="cc", denied_channels=("@a", "@b"))
    other = placed(api, intake={"licences": "cc", "denied_channels": ["@B", "https://youtube.com/@a", "@b"]})
    assert other["job_id"] == job_id_of([VIDEO], recipe, rules)
    shown = api.get(said["url"]).json()
    assert (shown["state"], shown["links"], shown["recipe_id"]) == ("queued", {"queued": 1}, recipe.id)
    assert shown["recipe"]["comparison"] == {"iou_threshold": recipe.comparison.iou_threshold}
    assert shown["recipe"]["device_model"]["name"] == recipe.device_model.name
    assert [item["link"] for item in api.get(f"{said['url']}/links").json()["items"]] == [VIDEO]
    assert Control.of(books).messages(["download"]) == 3  # of the three the first is void


def test_an_order_changes_the_recipe_where_it_says_so(api: httpx.Client, books: Settings) -> None:
    sampling = {"keeps_per_second": 1}
    said = placed(
        api, recipe={"iou_threshold": 0.7, "sampling": sampling, "device_threshold": 0.4}, priority="high"
    )
    wanted = books.model_copy(
        update={
            "sampling": Sampling(keeps_per_second=1),
            "comparison": books.comparison.model_copy(update={"iou_threshold": 0.7}),
            "device_threshold": 0.4,
        }
    )
    assert said["job_id"] == job_id_of([VIDEO], Runtime(wanted).recipe())
    assert api.get(said["url"]).json()["priority"] == Priority.HIGH


def test_stated_fields_alone_change_the_settings() -> None:
    base = load_settings(sampling={"segment_seconds": 5, "keeps_per_second": 3})
    order = RecipeOrder.model_validate({"sampling": {"keeps_per_second": 1}, "iou_threshold": 0.5})
    assert order.changes(base) == {"sampling": Sampling(segment_seconds=5, keeps_per_second=1)}
    assert JobOrder(links=[VIDEO]).rules(Intake(max_height=480, denied_channels=("@x",))) == Intake(
        max_height=480, denied_channels=("@x",)
    )


@pytest.mark.parametrize(
    "sampling",
    [{"candidates_per_second": 1e9}, {"keeps_per_second": 1e-9}, {"segment_seconds": 1e6}],
)
def test_numbers_that_no_video_has_are_refused(api: httpx.Client, sampling: dict[str, float]) -> None:
    answer = api.post("/jobs", json={"links": [VIDEO], "recipe": {"sampling": sampling}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["fields"][0]["field"] == f"body.recipe.sampling.{next(iter(sampling))}"


@pytest.mark.parametrize(
    "link",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "file://elsewhere/etc/passwd",
        "etc/passwd",
        "../../etc/passwd",
        "{folder}/../passwd",
        "{folder}/way-out/passwd",  # a symbolic link
        "{folder}/round/x.mp4",  # one that leads to itself
        "ftp://example.org/x.mp4",
        "http://",
        "https://[",
        "javascript:alert(1)",
        " ",
        "https://user:secret@example.org/x.mp4",
        "https://example.org/\nx",
    ],
)
def test_links_that_are_refused(api: httpx.Client, folder: Path, link: str) -> None:
    (folder / "way-out").unlink(missing_ok=True)
    (folder / "way-out").symlink_to("/etc")
    (folder / "round").unlink(missing_ok=True)
    (folder / "round").symlink_to(folder / "round")
    before = api.get("/jobs").json()["total"]
    answer = api.post("/jobs", json={"links": [VIDEO, link.format(folder=folder)]})
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in ("link_refused", "bad_link", "invalid_request")
    assert "secret" not in answer.text and api.get("/jobs").json()["total"] == before


def test_files_of_a_named_folder_are_taken(api: httpx.Client, folder: Path) -> None:
    assert placed(api, links=[str(folder / "one.mp4")])["links"] == 1
    assert placed(api, links=[f"file://{folder}/elsewhere.mp4"])["links"] == 1  # only the workers see it
    whole = placed(api, links=[str(folder)])
    assert whole["links"] == 2
    found = {item["link"].rpartition("/")[2] for item in api.get(f"{whole['url']}/links").json()["items"]}
    assert found == {"one.mp4", "two.mp4"}


@pytest.mark.parametrize(
    ("recipe", "code"),
    [
        ({"device_model": "/root/secret.tflite"}, "invalid_request"),
        ({"device_model": "me.tflite"}, "invalid_request"),
        ({"pose_model": "no-such-model"}, "unknown_model"),
        ({"mask_options": {"no_such_option": 1}}, "bad_setting"),
        ({"sampling": {"segment_seconds": float("inf")}}, "invalid_request"),
        ({"rule": {"head_points": [25]}}, "invalid_request"),
        ({"rule": {"head_points": [0] * 70_000}}, "bad_setting"),  # more than a process can be handed
        ({"iou_threshold": 2}, "invalid_request"),
        ({"threshold": 0.5}, "invalid_request"),  # no such field
    ],
)
def test_recipes_that_are_refused(api: httpx.Client, recipe: dict[str, Any], code: str) -> None:
    body = json.dumps({"links": [VIDEO], "recipe": recipe}).replace("Infinity", "1e999")
    answer = api.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["remedy"]


def test_a_large_order_is_answered_at_once_and_sent_afterwards(
    api: httpx.Client, books: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    control, may_send, send_later = Control.of(books), threading.Event(), jobs.send_later

    def held_up(*order: Any) -> None:
        assert may_send.wait(PATIENCE)
        send_later(*order)

    monkeypatch.setattr(jobs, "send_later", held_up)
    waiting = control.messages(["download"])
    links = [f"https://example.org/{number}.mp4" for number in range(600)]
    said = placed(api, links=links, priority="low")
    assert said["links"] == 600
    assert control.messages(["download"]) == waiting  # nothing is sent yet
    page = api.get(f"{said['url']}/links", params={"limit": 500, "state": "queued"}).json()
    assert page["total"] == 600 and len(page["items"]) == 500 and page["next"]
    may_send.set()
    until(lambda: control.messages(["download"]) == waiting + 600, "all are sent")
    too_many = [f"https://example.org/{number}.mp4" for number in range(10_001)]
    assert api.post("/jobs", json={"links": too_many}).status_code == 422


def test_a_job_is_cancelled_tried_again_and_deleted(api: httpx.Client) -> None:
    url = placed(api, links=["https://example.org/again.mp4"])["url"]
    running = api.delete(url)
    assert (running.status_code, running.json()["code"]) == (409, "job_running")
    assert api.post(f"{url}/cancel").json()["links"] == 1
    assert api.get(url).json()["cancelled_at"]
    slip = api.post(f"{url}/retry", json={"reasons": ["htp_429"]})
    assert (slip.status_code, slip.json()["code"]) == (422, "bad_order") and "cancelled" in slip.json()[
        "remedy"
    ]
    assert api.post(f"{url}/retry", json={"reasons": ["cancelled"]}).json()["links"] == 1
    assert api.get(url).json()["links"] == {"queued": 1}
    api.post(f"{url}/cancel")
    assert api.delete(url).status_code == 200
    assert api.get(url).status_code == api.delete(url).status_code == 404


def spec(name: str, source: str = "pypi:x==1/0!y", **options: float) -> ModelSpec:
    ref = WeightsRef(file="w", sha256="ab" * 32, source=source, licence="MIT", size=1)
    return ModelSpec(name=name, version="1", weights=(ref,), options=options)


def card(name: str, pid: int, models: dict[Stage, ModelSpec], points: tuple[int, ...] = ()) -> WorkerCard:
    queues = tuple(models)
    return WorkerCard(
        name=name, host="h", pid=pid, queues=queues, models=models, points=points, version="1", started=1.0
    )


def test_recipes_are_what_the_workers_have_loaded(books: Settings) -> None:
    own = books.model_copy(update={"namespace": "cards"})
    presence = Presence(Control.of(own))
    with servers_clock(), served(own) as url, client_of(url) as api:
        local = placed(api)["job_id"]
        presence.announce(card("p", 1, {Stage.POSE: spec("pose-of-theirs")}, tuple(range(25))))
        presence.announce(card("m", 2, {Stage.MASK: spec("teacher-of-theirs")}))
        assert placed(api)["job_id"] == local  # no device yet
        presence.announce(card("d", 3, {Stage.ME: spec("device-of-theirs", threshold=0.5)}))
        theirs = placed(api, links=[VIDEO, "https://example.org/1.mp4"])
        runtime = Runtime(own)
        recipe = runtime.catalog.job(theirs["job_id"]).recipe
        names = (recipe.pose_model.name, recipe.mask_model.name, recipe.device_model.name)
        assert names == ("pose-of-theirs", "teacher-of-theirs", "device-of-theirs")
        changed = placed(api, recipe={"iou_threshold": 0.9})["job_id"]
        assert runtime.catalog.job(changed).recipe.comparison.iou_threshold == 0.9
        assert runtime.catalog.job(changed).recipe.pose_model == recipe.pose_model
        presence.announce(card("e", 4, {Stage.ME: spec("another-device")}))  # they do not agree
        assert placed(api)["job_id"] == local
        presence.withdraw("h:4")
        presence.announce(card("p", 1, {Stage.POSE: spec("pose-of-theirs")}, (0, 4, 7)))
        refused = api.post("/jobs", json={"links": [VIDEO]})
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_setting")
        assert "toes" in refused.json()["detail"]


BARE = """
import json, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"cv2", "av", "ai_edge_litert", "onnxruntime", "onnx", "h5py",
                                      "tensorflow", "pycocotools", "pyarrow", "yt_dlp", "flower"}:
            raise ImportError(f"not here: {name}")
sys.meta_path.insert(0, Missing())
import httpx
from api_server import served
from broker.settings import load_settings
with served(load_settings()) as url, httpx.Client(base_url=url, verify=False, timeout=200) as api:
    paths = ["/openapi.json", "/jobs", "/frames", "/videos", "/devices", "/exports", "/readyz"]
    statuses = {path: api.get(path).status_code for path in paths}
    answer = api.post("/jobs", json={"links": ["https://example.org/bare.mp4"]})
print(json.dumps({"statuses": statuses, "job": answer.json()}))
"""


def test_the_api_needs_no_model_and_no_opencv(books: Settings) -> None:
    environment = {
        "PYTHONPATH": str(HELPERS),
        "PATH": "",
        "HARDPOSE_HOME": str(books.home),
        "HARDPOSE_BROKER_URL": books.broker,
        "HARDPOSE_NAMESPACE": "orders",
        "HARDPOSE_WEIGHTS_DIR": str(books.weights_dir),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", BARE], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said["statuses"].values()) == {200}, said
    assert said["job"]["job_id"] == job_id_of(["https://example.org/bare.mp4"], Runtime(books).recipe())
