"""One small job over every broker and every store: the verdicts are those of the plain loop.

Real models on real clips, real servers, and real ``hardpose worker`` processes, in most cases one for each
queue. With the store on S3 and the catalog in PostgreSQL the workers share no folder: each has its own home
and temporary files.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from brokers import BROKERS
from hardpose_process import command, environment, family, outcome, wait_for
from postgres_server import a_database, a_server
from s3_server import AWS, s3_server

from api.orders import enqueue
from broker.artifacts import Artifacts
from broker.control import Control
from broker.messages import Verdict
from broker.queue_lengths import all_messages
from broker.recipe import Sampling, Stage
from broker.settings import Settings, load_settings
from broker.views import JobView, State
from tasks.download import describe
from tasks.pipeline import run_plainly, segments_of
from tasks.runtime import Runtime
from workers.downloads.contracts import FetchLimits
from workers.downloads.local import fetch

pytestmark = pytest.mark.system

QUEUES = ("download", "pose", "mask", "me", "compare")
THREE = ("download", "pose mask me", "compare")
"""Two processes less to start, where what is between the stages is no matter of the case."""
CLIPS = ("SinglePerson_cam04", "MultiPerson_cam01")
SEGMENT_SECONDS = 0.5
"""Four segments of each clip: enough to be hit in the middle of."""
LEASE_SECONDS = 5
"""After which what a dead master has forgotten to forget is done again. A worker that stands still as long
has its segment done twice, to the same result: nothing here counts how often."""


WORK = {
    "HARDPOSE_VISIBILITY_TIMEOUT": str(LEASE_SECONDS),
    "HARDPOSE_SAMPLING__SEGMENT_SECONDS": str(SEGMENT_SECONDS),
}


@dataclass(frozen=True)
class Case:
    """Where everything is."""

    broker: str
    artifacts: str
    catalog: str
    workers: tuple[str, ...] = QUEUES
    """The queues of each worker."""

    def __str__(self) -> str:
        return f"{self.broker}-{self.artifacts}-{self.catalog}"

    @property
    def apart(self) -> bool:
        """Whether the workers need no folder together."""
        return (self.artifacts, self.catalog) == ("s3", "postgres")


CASES = (
    Case("redis", "folder", "sqlite", THREE),  # a rack with a shared folder
    Case("redis", "s3", "postgres"),  # a cluster
    Case("rediss", "s3", "postgres", THREE),  # one whose network is not its own
    Case("sentinel", "s3", "postgres"),  # one whose broker may die: its master does, in the middle of the job
    Case("rabbitmq", "s3", "postgres"),
)


@dataclass
class System:
    """The worker processes, by their queues, and what they were given."""

    case: Case
    folder: Path
    common: dict[str, str]
    workers: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def home(self, name: str) -> Path:
        return self.folder / ("shared" if not self.case.apart else name)

    def variables(self, queues: str) -> dict[str, str]:
        """The environment of the worker of ``queues``."""
        temporary = self.folder / "temp" / queues
        temporary.mkdir(parents=True, exist_ok=True)
        own = {"HARDPOSE_HOME": str(self.home(queues) / "home"), "HARDPOSE_TEMP_DIR": str(temporary)}
        return {**self.common, **own}

    @property
    def settings(self) -> Settings:
        """Of the one who orders."""
        given = {name.removeprefix("HARDPOSE_").lower(): value for name, value in self.common.items()}
        kept = {name: value for name, value in given.items() if "__" not in name}
        sampling = Sampling(segment_seconds=SEGMENT_SECONDS)
        return load_settings(home=self.home("orders") / "home", sampling=sampling, **kept)

    @contextmanager
    def running(self) -> Iterator[None]:
        try:
            for queues in self.case.workers:
                with (self.folder / f"{queues}.log").open("wb") as log:
                    line = command("worker", *queues.split(), "--name", queues.replace(" ", "-"))
                    env = environment(self.variables(queues))
                    self.workers[queues] = subprocess.Popen(line, stdout=log, stderr=log, env=env)
            yield
        finally:
            for worker in self.workers.values():
                worker.terminate()  # all at once; each is waited for
            for worker in self.workers.values():
                try:
                    worker.wait(60)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    worker.wait()

    def log(self, queues: str) -> str:
        return (self.folder / f"{queues}.log").read_text(errors="replace")

    @contextmanager
    def standing(self, queues: str) -> Iterator[None]:
        """The worker of ``queues`` is ready, and does nothing meanwhile."""
        _wait(self, lambda: " ready." in self.log(queues))
        members = family(self.workers[queues].pid)
        for member in members:
            member.suspend()
        try:
            yield
        finally:
            for member in members:
                member.resume()

    def alive(self) -> None:
        dead = [queues for queues, worker in self.workers.items() if worker.poll() is not None]
        assert not dead, self.log(dead[0])[-3000:]


@pytest.fixture(scope="module")
def plain(clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    """What the plain loop makes of the clips, in this one process: the yardstick."""
    home = tmp_path_factory.mktemp("plain")
    runtime = Runtime(load_settings(home=home, sampling=Sampling(segment_seconds=SEGMENT_SECONDS)))
    found: dict[str, list[object]] = {}
    for name in CLIPS:
        fetched = fetch(str(clips[name]), tmp_path_factory.mktemp("fetch"), FetchLimits())
        video = describe(runtime, fetched)
        runtime.artifacts.put_file(video.artifact, fetched.path)
        found[str(clips[name])] = [
            (r.segment.index, State.DONE, r.funnel(), r.drops, [k.model_dump() for k in r.keepers])
            for r in run_plainly(runtime, segments_of("plain", video, runtime.recipe()))
        ]
    return found


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with a_server() as url:
        yield url


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_REGION", "AWS_ALLOW_HTTP"):
            patch.setenv(name, AWS[name])
        patch.setenv("AWS_ENDPOINT", endpoint)
        yield endpoint


def _stores(case: Case, folder: Path, request: pytest.FixtureRequest, stack: ExitStack) -> dict[str, str]:
    """The settings of the stores; their servers are started when they are first wanted."""
    settings = {}
    if case.catalog == "postgres":
        database = stack.enter_context(a_database(request.getfixturevalue("postgres")))
        settings["HARDPOSE_CATALOG_URL"] = database
    if case.artifacts == "s3":
        request.getfixturevalue("s3")
        settings |= {
            "HARDPOSE_ARTIFACTS_URL": f"s3://frames/{folder.name}",
            "HARDPOSE_ARTIFACTS_KEY_ID": AWS["AWS_ACCESS_KEY_ID"],
            "HARDPOSE_ARTIFACTS_SECRET_KEY": AWS["AWS_SECRET_ACCESS_KEY"],
        }
    return settings


@dataclass(frozen=True)
class Outcome:
    system: System
    job: JobView
    hit: bool
    """Whether a mishap befell the broker before the job was done."""


@pytest.fixture(params=CASES, ids=str, scope="module")
def ended(
    request: pytest.FixtureRequest, clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcome]:
    """The job's end, on a system that still runs."""
    case: Case = request.param
    folder = tmp_path_factory.mktemp(str(case))
    with ExitStack() as stack:
        stores = _stores(case, folder, request, stack)
        broker = stack.enter_context(BROKERS[case.broker](folder))
        common = {**broker.settings, **stores, **WORK}
        system = System(case, folder, common)
        runtime = Runtime(system.settings)
        clips_given = [str(clips[name]) for name in CLIPS]
        if broker.mishap.__name__ == "nothing":
            job_id, hit = enqueue(runtime, clips_given), False
            stack.enter_context(system.running())
        else:
            runtime.catalog.migrate()
            stack.enter_context(system.running())
            with system.standing("compare"):  # so that the job cannot be through before
                job_id = enqueue(runtime, clips_given)
                _wait(system, lambda: runtime.control.progress(job_id)[Stage.POSE] >= 1)
                broker.mishap()
                hit = not runtime.catalog.job_light(job_id).final
        _wait(system, lambda: runtime.catalog.job_light(job_id).final)
        yield Outcome(system, runtime.catalog.job(job_id), hit)
        runtime.catalog.dispose()


def _wait(system: System, condition: Any) -> None:
    def met() -> bool:
        system.alive()
        return bool(condition())

    wait_for(met, 600)


def test_the_verdicts_are_those_of_the_plain_loop(ended: Outcome, plain: dict[str, list[object]]) -> None:
    assert ended.hit == (ended.system.case.broker == "sentinel")
    assert outcome(ended.job) == plain
    assert [len(link.segments) for link in ended.job.links] == [4, 4]
    funnel = ended.job.funnel().check()
    assert funnel.of(Verdict.EASY, Verdict.HARD) >= 2
    assert funnel.examined == sum(r[2].examined for results in plain.values() for r in results)


def test_nothing_is_left_in_the_queues(ended: Outcome) -> None:
    """Nor held by a worker, nor parked."""
    settings = ended.system.settings
    wait_for(lambda: all_messages(settings, Control.of(settings), QUEUES) == 0)


def test_the_workers_shared_nothing_but_what_the_urls_name(ended: Outcome) -> None:
    system = ended.system
    stored = Artifacts.of(system.settings).keys()
    assert {key.split("/")[0] for key in stored} >= {"frames", "masks", "results", "videos"}
    if not system.case.apart:
        return
    nothing: dict[str, list[str]] = {queues: [] for queues in system.workers}
    assert {queues: _files(system.home(queues)) for queues in system.workers} == nothing

    def left() -> list[str]:
        files = [file for queues in system.workers for file in _files(system.folder / "temp" / queues)]
        return [file for file in files if "copies" not in file]

    wait_for(lambda: not left())  # who has just ended its task tidies up after it


def _files(folder: Path) -> Sequence[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_no_log_shows_a_secret(ended: Outcome) -> None:
    system = ended.system
    wait_for(lambda: all("succeeded" in system.log(queues) for queues in system.workers))  # their own words
    logs = {queues: system.log(queues) for queues in system.workers}
    secrets = [AWS["AWS_SECRET_ACCESS_KEY"]] + [
        word for url in ("HARDPOSE_BROKER_URL", "HARDPOSE_CONTROL_URL", "HARDPOSE_CATALOG_URL")
        if (word := _password(system.common.get(url, "")))
    ]  # fmt: skip
    assert len(secrets) >= 2
    assert [(q, s) for q, log in logs.items() for s in secrets if s in log] == []


def _password(url: str) -> str:
    account, at, _ = url.partition("://")[2].rpartition("@")
    return account.partition(":")[2] if at else ""
