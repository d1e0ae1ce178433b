"""Two workers of one queue, one of them with damaged weights: it leaves the work to the other.

What the two have to meet does not depend on who is faster: the pool of the good one stands still until then,
while its main process goes on telling that it lives.
"""

import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from brokers import BROKERS
from ended import ended
from hardpose_process import command, environment, hardpose, wait_for
from odd_models_package import install
from prometheus_client.parser import text_string_to_metric_families
from test_life import grey_video

from broker.catalog import Catalog
from broker.control import Control
from broker.presence import Presence, WorkerCard
from broker.queue_lengths import all_messages
from broker.settings import load_settings
from broker.views import JobView, State
from tasks.fitness import REST_SECONDS, TOLD_SECONDS
from tasks.retrying import AwayPause
from workers.embedded_weights import DETECTOR, LANDMARKER
from workers.weights import WeightsStore

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SEGMENTS = 6
"""Of each job; a second long."""
QUEUES = ("download", "pose", "mask+me+compare")
MOST_REST_SECONDS = 2.0
"""Of the bad worker, in place of its 15 s; and it beats every second."""
IMPATIENT = f"""
import runpy
import broker.presence_beat
from celery.signals import worker_process_init

def be_quick(**_):
    import tasks.fitness  # not sooner: the metrics' library looks for its folder when it is imported
    tasks.fitness.MOST_REST_SECONDS = {MOST_REST_SECONDS}

worker_process_init.connect(be_quick, weak=False)
broker.presence_beat.BEAT_SECONDS = 1.0
runpy.run_module("api.cli", run_name="__main__")
"""


class System:
    """A broker, workers, and the folder of them all."""

    def __init__(self, folder: Path, broker: dict[str, str], weights: WeightsStore) -> None:
        self.folder, self.right = folder, weights.path(DETECTOR)
        self.env = {
            **broker,
            "HARDPOSE_HOME": str(folder / "home"),
            "HARDPOSE_TEMP_DIR": str(folder),
            "HARDPOSE_PLACEMENT": "pose | mask+me+compare",
            "HARDPOSE_SAMPLING__SEGMENT_SECONDS": "1",
            "HARDPOSE_SAMPLING__CANDIDATES_PER_SECOND": "2",
        }
        given = {name.removeprefix("HARDPOSE_").lower(): value for name, value in broker.items()}
        self.settings = load_settings(home=folder / "home", **given)
        self.control = Control.of(self.settings)
        self.damaged = folder / "weights" / self.right.name
        self.damaged.parent.mkdir()
        self.damaged.write_bytes(bytes(DETECTOR.size))
        shutil.copy(weights.path(LANDMARKER), self.damaged.parent)
        self.clips = 0

    @contextmanager
    def worker(
        self, queues: str, name: str, python: tuple[str, ...] = ("-m", "api.cli"), **more: str
    ) -> Iterator[psutil.Process]:
        with (self.folder / f"{name}.log").open("wb") as log:
            line = [sys.executable, *python, *command("worker", *queues.split(), "--name", name)[3:]]
            process = subprocess.Popen(line, stdout=log, stderr=log, env=environment(self.env | more))
        with ended(process):
            yield psutil.Process(process.pid)

    @contextmanager
    def bad_worker(self) -> Iterator[psutil.Process]:
        own = {"HARDPOSE_WEIGHTS_DIR": str(self.damaged.parent), "HARDPOSE_METRICS_PORT": "0"}
        with self.worker("pose", "bad", ("-c", IMPATIENT), **own) as process:
            yield process

    def wait_for(self, *names: str) -> None:
        """Until these workers are shown."""
        wait_for(lambda: all(self.card(name) for name in names))

    @property
    def served(self) -> str:
        """Where the bad worker tells of itself; it chose the port."""
        card = self.card("bad")
        assert card is not None and card.metrics
        return f"http://{card.metrics}"

    def card(self, name: str) -> WorkerCard | None:
        return next((c for c in Presence(self.control).alive() if c.name.startswith(f"{name}@")), None)

    def unfit(self) -> bool:
        card = self.card("bad")
        return card is not None and card.unfit is not None

    def job(self, meanwhile: Callable[[], object] = lambda: None, **more: str) -> JobView:
        """A video that nobody has seen before, through all stages; ``meanwhile`` comes before its end."""
        self.clips += 1
        clip = grey_video(self.folder / f"{self.clips}.mp4", 100 + 10 * self.clips, SEGMENTS)
        sent = hardpose("enqueue", clip, env=self.env | more)
        assert sent.code == 0, sent.stderr
        meanwhile()
        catalog = Catalog(self.settings.catalog)
        try:
            wait_for(lambda: catalog.job_light(sent.stdout.strip()).final)
            return catalog.job(sent.stdout.strip())
        finally:
            catalog.dispose()

    def left(self) -> int:
        return all_messages(self.settings, self.control, QUEUES)

    def readiness(self) -> tuple[int, str]:
        return fetch(f"{self.served}/readyz")

    def pose_segments(self) -> dict[str, float]:
        """What has come of those that the bad worker took."""
        _, text = fetch(f"{self.served}/metrics")
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        return {
            s.labels["outcome"]: s.value
            for s in samples
            if s.name == "hardpose_segments_total" and s.labels["stage"] == "pose"
        }


@contextmanager
def standing_still(worker: psutil.Process) -> Iterator[None]:
    """The processes of its pool do nothing, and it lives."""
    pool = worker.children(recursive=True)
    assert pool
    for process in pool:
        process.suspend()
    try:
        yield
    finally:
        for process in pool:
            process.resume()


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def outcomes(job: JobView) -> list[tuple[State, str]]:
    (link,) = job.links
    return [(s.state, s.failure.code if s.failure else "") for s in link.segments]


ALL_DONE = [(State.DONE, "")] * SEGMENTS


@dataclass(frozen=True)
class Story:
    """What happened, in this order."""

    alone: JobView
    status: str
    unready: tuple[int, str]
    failed_alone: dict[str, float]
    shared: JobView
    seconds: float
    """For which the two were together."""
    taken: dict[str, float]
    unknown_model: JobView
    fit_after_unknown: bool
    mended: JobView
    ready: tuple[int, str]
    card: WorkerCard | None
    left: int
    log: str


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def story(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, weights: WeightsStore
) -> Story:
    folder = tmp_path_factory.mktemp("unfit")
    told: dict[str, Any] = {}
    with ExitStack() as stack:
        broker = stack.enter_context(BROKERS[request.param](folder / "broker"))
        system = System(folder, broker.settings, weights)
        workers = [stack.enter_context(system.worker("download mask+me+compare", "others"))]
        workers.append(stack.enter_context(system.bad_worker()))
        system.wait_for("others", "bad")
        told["alone"] = system.job()
        told["failed_alone"] = system.pose_segments()

        began = time.monotonic()
        good = stack.enter_context(system.worker("pose", "good"))
        workers.append(good)
        told["status"] = hardpose("status", env=system.env).stdout
        wait_for(lambda: system.readiness()[1].startswith("not ready: weights"))
        told["unready"] = system.readiness()
        system.wait_for("good")
        with ExitStack() as still:
            still.enter_context(standing_still(good))

            def both_have_met() -> None:
                wait_for(lambda: system.pose_segments() != told["failed_alone"])
                still.close()

            told["shared"] = system.job(both_have_met)
        told["taken"], told["seconds"] = system.pose_segments(), time.monotonic() - began

        shutil.copy(system.right, system.damaged)
        with ExitStack() as still:
            still.enter_context(standing_still(good))

            def bad_is_fit() -> None:
                wait_for(lambda: not system.unfit())
                still.close()

            told["mended"] = system.job(bad_is_fit)
        wait_for(lambda: system.readiness()[0] == 200)
        told["ready"], told["card"] = system.readiness(), system.card("bad")

        odd = install(folder / "stranger")
        told["unknown_model"] = system.job(**odd, HARDPOSE_POSE_MODEL="nobody")
        told["fit_after_unknown"] = not system.unfit()
        wait_for(lambda: system.left() == 0)
        told["left"] = system.left()
        told["log"] = (folder / "bad.log").read_text(errors="replace")
        for worker in workers:  # together
            worker.terminate()
        return Story(**told)


def test_alone_it_fails_its_segments_with_the_error_as_it_is(story: Story) -> None:
    assert outcomes(story.alone) == [(State.FAILED, "weights")] * SEGMENTS
    assert story.failed_alone["failed"] == SEGMENTS and "done" not in story.failed_alone
    failure = story.alone.links[0].segments[0].failure
    assert failure is not None and DETECTOR.file in failure.cause and "Delete the file" in failure.remedy


def test_it_says_that_it_is_unfit_and_why(story: Story) -> None:
    assert story.unready[0] == 503
    assert f"weights: The stored weights {DETECTOR.file}" in story.unready[1]
    assert "The worker bad@" in story.status and "unfit for pose. weights: The stored weights" in story.status
    assert "this worker is unfit for work: weights" in story.log


def test_beside_another_one_nothing_fails_and_it_takes_few(story: Story) -> None:
    assert outcomes(story.shared) == ALL_DONE
    assert story.taken["failed"] == SEGMENTS, "as before, when it was alone"
    assert "done" not in story.taken
    retried = int(story.taken["retried"] - story.failed_alone.get("retried", 0))
    assert retried, "the two have met"
    # No count in seconds would hold on every machine: each take has cost the rest before the next one.
    pauses, now = AwayPause(REST_SECONDS, MOST_REST_SECONDS, TOLD_SECONDS), 0.0
    for _ in range(retried - 1):
        now += pauses.pause(now)
    assert now <= story.seconds


def test_with_its_weights_mended_it_serves_without_a_restart(story: Story) -> None:
    assert outcomes(story.mended) == ALL_DONE
    assert story.ready[0] == 200
    assert story.card is not None and story.card.unfit is None and "pose" in story.card.models
    assert "this worker is fit for work" in story.log


def test_a_recipe_that_no_worker_can_load_fails_with_its_own_error(story: Story) -> None:
    assert outcomes(story.unknown_model) == [(State.FAILED, "not_found")] * SEGMENTS
    assert story.fit_after_unknown, "a job is no reason to call a worker unfit"
    assert story.left == 0
