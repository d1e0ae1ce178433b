"""One network on two devices: one reads the artifact store, the other has nothing but the broker.

Real workers on a real broker, the real network, a real clip. What the two leave must be the same.
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ended import ended
from hardpose_process import command, environment, wait_for

from api.orders import enqueue
from broker.app import create_app
from broker.artifacts import Artifacts
from broker.catalog import Catalog
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.messages import SegmentResult
from broker.recipe import Recipe, Stage
from broker.settings import load_settings
from broker.views import JobView
from tasks.runtime import Runtime
from workers.embedded_weights import SELFIE
from workers.weights import WeightsStore

pytestmark = pytest.mark.system

NOWHERE = "file:///proc/no-such-folder/artifacts"
PAGE = """
name = "{name}"
firmware = "1"
driver = "litert"
queue = "own"
pixels = "{pixels}"

[network]
model = "{model}"
"""
WAYS = {"by-store": "store", "by-message": "inline"}
PNG = "iVBORw0KGgo"
"""How a PNG begins in base64."""
JPEG = "/9j/"


@dataclass
class System:
    """A coordinator with the store, and devices of which only one has it."""

    folder: Path
    broker: EmbeddedBroker
    weights: WeightsStore
    jobs: dict[str, str] = field(default_factory=dict)
    workers: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {
            "HARDPOSE_BROKER_URL": self.broker.url,
            "HARDPOSE_PLACEMENT": "pose+mask | me | compare",
            "HARDPOSE_HOME": str(self.folder / "home"),
            "HARDPOSE_LOG_LEVEL": "DEBUG",
        }

    @property
    def store(self) -> Artifacts:
        return Artifacts((self.folder / "home" / "artifacts").as_uri())

    @property
    def catalog(self) -> Catalog:
        return Catalog(f"sqlite:///{self.folder / 'home' / 'catalog.sqlite'}")

    @property
    def logs(self) -> dict[str, str]:
        return {path.stem: path.read_text() for path in self.folder.glob("*.log")}

    def page(self, name: str) -> Path:
        path = self.folder / f"{name}.toml"
        text = PAGE.format(name=name, pixels=WAYS[name], model=self.weights.path(SELFIE))
        path.write_text(text)
        return path

    def coordinator(self) -> Any:
        return self._worker("coordinator", ["download", "pose+mask", "compare"], self.env)

    def device(self, name: str) -> Any:
        home = self.folder / f"home-{name}"
        store = self.store.url if WAYS[name] == "store" else NOWHERE
        env = {**self.env, "HARDPOSE_HOME": str(home), "HARDPOSE_ARTIFACTS_URL": store}
        return self._worker(name, ["--device", self.page(name)], env)

    @contextmanager
    def _worker(self, name: str, arguments: list[Any], env: dict[str, str]) -> Iterator[None]:
        line = command("worker", *arguments, "--name", name)
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(line, stdout=log, stderr=log, env=environment(env))
        self.workers[name] = process
        with ended(process):
            yield

    def order(self, name: str, clip: Path) -> None:
        settings = load_settings(
            home=self.folder / "home",
            broker_url=self.broker.url,
            placement=self.env["HARDPOSE_PLACEMENT"],
            device_model=str(self.page(name)),
        )
        self.jobs[name] = enqueue(Runtime(settings), [str(clip)])

    def ended(self, name: str) -> JobView:
        def final() -> bool:
            dead = [worker for worker, process in self.workers.items() if process.poll() is not None]
            assert self.catalog.job_light(self.jobs[name]).final or not dead, dead
            return self.catalog.job_light(self.jobs[name]).final

        wait_for(final)
        return self.catalog.job(self.jobs[name])

    def heard_all(self) -> bool:
        """Whether every task that was received has ended, and none is missing."""
        told = [(event["type"], event.get("uuid")) for event in map(json.loads, list(self.events))]
        received, ended = (
            {u for kind, u in told if kind == f"task-{word}"} for word in ("received", "succeeded")
        )
        return len(received) >= 4 * len(WAYS) and received <= ended

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Collects what Flower hears."""
        with create_app(load_settings(broker_url=self.broker.url)) as app, app.connection() as link:
            receiver = app.events.Receiver(link, {"*": lambda event: self.events.append(json.dumps(event))})
            thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "wakeup": False})
            thread.start()
            try:
                with Control(self.broker.url).server() as server:
                    wait_for(lambda: server.pubsub_numpat() or server.pubsub_channels())  # it listens
                yield
                wait_for(self.heard_all)
            finally:
                receiver.should_stop = True
                thread.join()


@pytest.fixture(scope="module")
def system(
    tmp_path_factory: pytest.TempPathFactory, weights: WeightsStore, clips: dict[str, Path]
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("inline")
    with EmbeddedBroker(folder / "broker") as broker, ExitStack() as workers:
        system = System(folder, broker, weights)
        with system.listening():
            workers.enter_context(system.coordinator())
            for name in WAYS:
                workers.enter_context(system.device(name))
                system.order(name, clips["SinglePerson_cam03"])
            for name in WAYS:
                system.ended(name)
        yield system
        for process in system.workers.values():
            process.terminate()  # all at once; each is waited for


def frames(system: System, name: str) -> dict[int, dict[str, Any]]:
    """What the catalog says of each kept frame, but for the device's name and how long it took."""
    found = {}
    for link in system.ended(name).links:
        for segment in link.segments:
            for keeper in segment.keepers:
                plain = keeper.model_dump(exclude={"device_key"})
                plain["measures"].pop("device_ms")
                found[keeper.time_ms] = plain
    return found


def recipe(system: System, name: str) -> Recipe:
    return system.catalog.job(system.jobs[name]).recipe


def results(system: System, name: str) -> list[dict[str, Any]]:
    """The stored results of me and compare, but for the same."""
    found = []
    for stage in (Stage.ME, Stage.COMPARE):
        for key in system.store.keys(f"results/{recipe(system, name).stage_id(stage)}"):
            result = SegmentResult.model_validate_json(system.store.get(key))
            assert not result.pictures
            plain = result.model_dump(exclude={"segment", "seconds"})
            for keeper in plain["keepers"]:
                device_key = keeper.pop("device_key")
                assert (device_key is None) == (keeper["verdict"] is not None and keeper["iou"] is None)
                keeper["measures"].pop("device_ms", None)
            found.append(plain)
    return found


def masks(system: System, name: str) -> dict[str, bytes]:
    folder = f"device/{recipe(system, name).stage_id(Stage.ME)}"
    return {key.rsplit("/", 1)[1]: system.store.get(key) for key in system.store.keys(folder)}


def test_both_ways_leave_the_same_frames_masks_and_results(system: System) -> None:
    by_store, by_message = frames(system, "by-store"), frames(system, "by-message")
    assert len(by_store) >= 2
    assert all(frame["iou"] is not None for frame in by_store.values())
    assert by_message == by_store
    assert len(masks(system, "by-store")) == len(by_store)
    assert masks(system, "by-message") == masks(system, "by-store")
    assert len(results(system, "by-store")) >= 2
    assert results(system, "by-message") == results(system, "by-store")
    assert system.ended("by-message").funnel().check() == system.ended("by-store").funnel().check()


def test_the_device_without_a_store_asked_for_none(system: System) -> None:
    assert {key.split("/")[0] for key in system.store.keys()} == {  # noqa: SIM118 - no dict
        "device", "frames", "masks", "results", "videos",
    }  # fmt: skip
    assert not (system.folder / "home-by-message" / "artifacts").exists()
    assert "artifact" not in system.logs["by-message"]


def test_no_log_and_no_event_shows_the_pictures(system: System) -> None:
    assert len(system.logs) == 1 + len(WAYS)
    wait_for(lambda: all("succeeded" in log for log in system.logs.values()))  # Celery's own lines
    assert not [name for name, log in system.logs.items() if PNG in log or JPEG in log]
    received = [event for event in system.events if '"task-received"' in event]
    assert len(received) >= 4 * len(WAYS)
    assert max(map(len, system.events)) < 5000
    assert not [event for event in system.events if PNG in event or JPEG in event]


def test_nothing_is_left_in_the_queues(system: System) -> None:
    control = Control(system.broker.url)
    wait_for(lambda: control.messages(["me.by-store", "me.by-message", "compare"]) == 0)
    segments = [s for name in WAYS for link in system.ended(name).links for s in link.segments]
    assert len(segments) >= len(WAYS)
