"""Ending work that is under way: transfers and segments of a cancelled job, the pixels of a forgotten video.

The command line, the broker and the workers are those of production; a stranger's model waits at a gate.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import http_server
import pytest
from ended import ended
from gate import Gate
from hardpose_process import command, environment, hardpose, wait_for
from odd_models_package import gate_of, install
from test_life import grey_video

from api.exit_codes import ExitCode
from broker.artifacts import Artifacts
from broker.catalog import Catalog
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.settings import load_settings
from broker.views import JobView, State
from tasks.cancelling import cancel_job
from tasks.erasing import forget_video
from tasks.runtime import Runtime
from workers.downloads.parts import FOLDER

pytestmark = pytest.mark.system

STAGES = "pose+mask+me+compare"


@dataclass
class System:
    """A broker, a catalog, and a worker that downloads; the stages' worker is started by the first test."""

    folder: Path
    broker: EmbeddedBroker
    models: dict[str, str]

    @property
    def env(self) -> dict[str, str]:
        return {
            **self.models,
            "HARDPOSE_BROKER_URL": self.broker.url,
            "HARDPOSE_HOME": str(self.folder / "home"),
            "HARDPOSE_TEMP_DIR": str(self.folder / "temp"),
            "HARDPOSE_POSE_MODEL": "gated",
            "HARDPOSE_PLACEMENT": STAGES,
            "HARDPOSE_ALLOW_NETWORKS": '["127.0.0.0/8"]',
            "HARDPOSE_SAMPLING__SEGMENT_SECONDS": "2",
            "HARDPOSE_SAMPLING__CANDIDATES_PER_SECOND": "2",
        }

    @property
    def catalog(self) -> Catalog:
        return Catalog(f"sqlite:///{self.folder / 'home' / 'catalog.sqlite'}")

    @property
    def control(self) -> Control:
        return Control(self.broker.url)

    @property
    def runtime(self) -> Runtime:
        return Runtime(load_settings(home=self.folder / "home", broker_url=self.broker.url))

    @property
    def stored(self) -> list[str]:
        return Artifacts(str(self.folder / "home" / "artifacts")).keys()

    @property
    def looked_at(self) -> int:
        return len(self.gate.looks)

    @property
    def gate(self) -> Gate:
        return gate_of(self.models)

    def say(self, *arguments: str | Path, code: ExitCode = ExitCode.OK) -> str:
        done = hardpose(*arguments, env=self.env)
        assert done.code == code, done.stderr
        return done.stdout.strip()

    def quiet(self) -> bool:
        return self.control.messages(["download", STAGES]) == 0

    def ended(self, job_id: str) -> JobView:
        wait_for(lambda: self.catalog.job_light(job_id).final)
        return self.catalog.job(job_id)

    @contextmanager
    def worker(self, queue: str) -> Iterator[None]:
        with (self.folder / f"{queue}.log").open("ab") as log:
            line = command("worker", queue, "--name", queue)
            process = subprocess.Popen(line, stdout=log, stderr=log, env=environment(self.env))
        with ended(process):
            yield


@pytest.fixture(scope="module")
def downloading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("ending")
    with EmbeddedBroker(folder / "broker") as broker:
        system = System(folder, broker, install(folder / "stranger"))
        with system.worker("download"):
            yield system


@pytest.fixture(scope="module")
def urgent_first(downloading: System) -> Iterator[tuple[System, JobView, JobView]]:
    """Two jobs, of which the less urgent was sent first, before there was a worker for their stages."""
    system = downloading
    videos = [grey_video(system.folder / f"{seconds}.mp4", 60, seconds) for seconds in (6, 2)]
    with ExitStack() as stack:
        low = system.say("enqueue", videos[0], "--priority", "low")
        wait_for(lambda: system.control.messages([STAGES]) == 3)
        high = system.say("enqueue", videos[1], "--priority", "high")
        wait_for(lambda: system.control.messages([STAGES]) == 4)
        stack.enter_context(system.worker(STAGES))
        yield system, system.ended(low), system.ended(high)


@pytest.fixture(scope="module")
def system(urgent_first: tuple[System, JobView, JobView]) -> System:
    return urgent_first[0]


def test_an_urgent_job_overtakes(urgent_first: tuple[System, JobView, JobView]) -> None:
    system, low, high = urgent_first
    last = {
        job.id: sorted(s.updated_at for s in system.catalog.videos.segments(job=job.id, limit=10).items)
        for job in (low, high)
    }
    assert (len(last[low.id]), len(last[high.id])) == (3, 1)
    assert last[high.id][-1] < last[low.id][0]


def test_cancel_in_mid_segments_and_go_on(system: System) -> None:
    before = system.looked_at
    system.gate.let(before + 5)
    job_id = system.say("enqueue", grey_video(system.folder / "grey.mp4", 128, 10))
    wait_for(lambda: system.looked_at == before + 6)  # in the second of five segments, of four images each
    said = cancel_job(system.runtime, job_id)
    assert (said.job_id, said.links, said.segments) == (job_id, 1, 4)
    system.gate.open()
    wait_for(system.quiet)
    assert system.looked_at == before + 8  # the segment that was at work, and no other
    job = system.catalog.job(job_id)
    done = sum(segment.state == State.DONE for segment in job.links[0].segments)
    assert job.final and job.cancelled_at and done == 1
    assert "cancelled: 1 link" in system.say("watch", job_id, code=ExitCode.CANCELLED)
    seen = system.looked_at
    assert "1 link is tried again" in system.say("retry", job_id, "--reason", "cancelled")
    job = system.ended(job_id)
    assert job.links[0].state == State.DONE and job.cancelled_at is None
    assert job.funnel().check().examined == 20
    assert system.looked_at - seen <= 4 * (5 - done)


def test_cancel_in_mid_transfer(system: System) -> None:
    with http_server.running() as server:
        job_id = system.say("enqueue", server.url("slow.mp4"))
        wait_for(lambda: system.control.transfers(job_id))
        assert list((system.folder / "temp" / FOLDER).iterdir())
        assert json.loads(system.say("cancel", job_id, "--json"))["links"] == 1
        # It would go on for as long as the server runs: that it ends is the cancelling's doing.
        wait_for(lambda: not list((system.folder / "temp" / FOLDER).iterdir()))
        wait_for(system.quiet)
        assert server.count("slow.mp4") == 1
    (link,) = system.catalog.job(job_id).links
    assert link.failure is not None and link.failure.code == "cancelled"
    assert system.control.transfers(job_id) == []


def test_a_video_that_is_forgotten_while_it_is_at_work_leaves_nothing(system: System) -> None:
    kept, before = system.stored, system.looked_at
    video = grey_video(system.folder / "person.mp4", 200, 10)
    system.gate.let(before + 5)
    job_id = system.say("enqueue", video)
    wait_for(lambda: system.looked_at == before + 6)
    assert len(system.stored) > len(kept)
    erased = forget_video(system.runtime, str(video), "ana", "asked")
    system.gate.open()
    assert (erased.videos, erased.segments, erased.jobs) == (1, 5, (job_id,))
    wait_for(system.quiet)
    assert system.stored == kept
    (link,) = system.catalog.job(job_id).links
    assert link.failure is not None and link.failure.code == "forgotten" and link.video is None
    other = system.say("enqueue", video, "--threshold", "0.4")  # another job, under another recipe
    (link,) = system.ended(other).links
    assert link.failure is not None and link.failure.code == "forgotten"
    wait_for(system.quiet)
    assert system.stored == kept
    assert "May be taken in: sha256:" in system.say("forget", "--allow", video)
    refused = hardpose("delete", other, env=system.env)
    assert refused.code == ExitCode.USAGE and "--yes" in refused.stderr
    assert other in system.say("delete", other, "--yes")
    assert "nothing to cancel" in system.say("cancel", job_id)
    assert system.stored == kept
