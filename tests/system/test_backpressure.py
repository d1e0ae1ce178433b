"""A device that is away: the stages in front of it stop at the bound, and work for others goes on."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest
import stranger_package
from announced_devices import device_unit
from hardpose_process import environment, hardpose, start, wait_for
from make_video import write_steady

from api.device_wait import ask_device
from api.exit_codes import ExitCode
from api.orders import book, send
from broker.backlog import Backlog
from broker.control import Control
from broker.device_register import DeviceRegister
from broker.embedded import EmbeddedBroker
from broker.recipe import Comparison, ModelSpec, Recipe, Route
from broker.settings import load_settings
from broker.views import JobView, State
from tasks.cancelling import cancel_job
from tasks.runtime import Runtime

pytestmark = pytest.mark.system

BOUND, SEGMENTS = 4, 16
OWN = "me.me-2"
DEVICE_QUEUES = ("mask", OWN)


@dataclass
class System:
    """A broker, and workers of which the tests say when they come."""

    home: Path
    env: dict[str, str]
    control: Control
    workers: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def work(self, *queues: str) -> None:
        self.workers.append(start("worker", *queues, "--home", self.home, env=self.env))

    @cached_property
    def runtime(self) -> Runtime:
        return Runtime(load_settings(home=self.home, broker_url=self.env["HARDPOSE_BROKER_URL"]))

    @cached_property
    def recipe(self) -> Recipe:
        """With the stranger's device, which is emulated."""
        line = [sys.executable, "-P", "-m", "api.recipe_of"]
        done = subprocess.run(line, capture_output=True, env=environment(self.env), input=b"", check=True)
        return Recipe.model_validate(json.loads(done.stdout.splitlines()[-1])["recipe"])

    def enqueue(self, clip: Path, recipe: Recipe) -> str:
        job_id = book(self.runtime, recipe, [str(clip)])
        send(self.runtime, job_id)
        return job_id

    def job(self, job_id: str) -> JobView:
        return self.runtime.catalog.job(job_id)

    def waiting(self) -> int:
        return sum(self.control.lengths(DEVICE_QUEUES)[0].values())

    def stands(self) -> bool:
        """Whether everything that there is waits for the device: at its queue, or held before the stages."""
        lengths, at_work = self.control.lengths(("download", "pose", *DEVICE_QUEUES))
        elsewhere = at_work + sum(lengths.values()) - lengths[OWN]
        return elsewhere == 0 and lengths[OWN] >= BOUND and lengths[OWN] + self.held() == SEGMENTS

    def held(self) -> int:
        return Backlog(self.control).counts().get(OWN, 0)


def own_device(spec: ModelSpec) -> ModelSpec:
    """The stranger's device, as if it had announced itself with a queue of its own."""
    route = Route(device="me-2", firmware="0.3", queue=OWN)
    return spec.model_copy(update={"version": "me-2@0.3", "route": route})


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    home = tmp_path / "state"
    env = {
        **stranger_package.install(tmp_path / "package"),
        "HARDPOSE_WEIGHTS_DIR": str(tmp_path / "weights"),
        "HARDPOSE_POSE_MODEL": "tiny-pose",
        "HARDPOSE_MASK_MODEL": "tiny-teacher",
        "HARDPOSE_DEVICE_MODEL": "tiny-device",
        "HARDPOSE_SAMPLING__SEGMENT_SECONDS": "0.5",
        "HARDPOSE_DEVICE_BACKLOG": str(BOUND),
        "HARDPOSE_LOG_LEVEL": "INFO",
    }
    (tmp_path / "mine.tiny").write_bytes(stranger_package.weights_bytes())
    added = hardpose(
        "models", "add", "tiny-pose", "--from", tmp_path / "mine.tiny", "--accept-licence", env=env
    )
    assert added.code == ExitCode.OK, added.stderr
    with EmbeddedBroker(tmp_path / "broker") as broker:
        env["HARDPOSE_BROKER_URL"] = broker.url
        made = System(home, env, Control(broker.url))
        yield made
        for worker in made.workers:
            worker.terminate()
        for worker in made.workers:
            try:
                worker.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                worker.kill()


def test_a_device_that_is_away_holds_up_its_own_work_alone(system: System, tmp_path: Path) -> None:
    clip = write_steady(tmp_path / "clip.mp4", SEGMENTS * 5, 10, size=(160, 120))
    recipe = system.recipe.model_copy(update={"device_model": own_device(system.recipe.device_model)})
    DeviceRegister(system.control).announce(device_unit(recipe.device_model))
    system.work("download", "pose", "mask", "compare")
    away = system.enqueue(clip, recipe)
    wait_for(system.stands)
    waiting, held = system.waiting(), system.held()
    assert BOUND <= waiting <= BOUND + 1, "the one worker may have had one in its hands"
    assert waiting + held == SEGMENTS

    said = str(ask_device(system.runtime.settings, system.job(away)))
    assert said.startswith(f"{SEGMENTS} segments wait for me-2")
    assert said.endswith(f"({held} of them held before the first stage)")

    stricter = recipe.model_copy(update={"comparison": Comparison(iou_threshold=0.9)})
    another = system.enqueue(clip, stricter)
    wait_for(lambda: system.held() == held + SEGMENTS)
    cancel_job(system.runtime, another)
    assert (system.waiting(), system.held()) == (waiting, held)

    system.work("me")
    other = system.enqueue(clip, system.recipe)
    wait_for(lambda: system.job(other).final)
    assert {link.state for link in system.job(other).links} == {State.DONE}
    assert (system.waiting(), system.held()) == (waiting, held)

    system.work(OWN)
    wait_for(lambda: system.job(away).final)
    job = system.job(away)
    assert {link.state for link in job.links} == {State.DONE}
    assert sum(len(link.segments) for link in job.links) == SEGMENTS
    assert job.funnel().check() == system.job(other).funnel().check()
    assert job.funnel().examined == SEGMENTS * 4
    wait_for(lambda: system.control.messages(["download", "pose", "mask", "me", OWN, "compare"]) == 0)
    with system.control.server() as server:
        left = {str(key).rpartition(":")[2] for key in server.scan_iter(system.control.key("held:*"))}
    assert left <= {"serial", "between"}
