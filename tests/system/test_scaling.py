"""A second worker in the middle of a job, and the first one asked to go: what is done is done once."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from ended import ended
from hardpose_process import command, environment, hardpose
from odd_models_package import install
from test_life import grey_video, wait_for

from broker.catalog import Catalog
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.queue_lengths import all_messages
from broker.settings import load_settings
from broker.views import JobView, State

pytestmark = pytest.mark.system

SECONDS = 16
"""Of the clip; a segment each, with two looks of half a second."""
PLACEMENT = "pose | mask+me+compare"


@dataclass(frozen=True)
class Story:
    """What the looks' notes say; each is the process that looked."""

    looks: list[int]
    ready: int
    """Looks so far when the second worker was ready."""
    joined: int
    """The first look of the second worker."""
    asked: int
    """Looks so far when the first one was asked to go."""
    first: set[int]
    """The processes of the first worker."""
    code: int
    job: JobView
    left: int
    """Messages in all queues at the end."""


@contextmanager
def worker(queue: str, name: str, folder: Path, env: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / f"{name}.log").open("wb") as log:
        line = command("worker", queue, "--name", name)
        process = subprocess.Popen(line, stdout=log, stderr=log, env=environment(env))
    with ended(process):
        wait_for(lambda: f"{name}@" in (text := log_of(folder, name)) and " ready." in text)
        yield process


def log_of(folder: Path, name: str) -> str:
    return (folder / f"{name}.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("scaling")
    odd = install(folder / "stranger")
    notes = Path(odd["ODD_NOTES"])

    def looks() -> list[int]:
        return [int(line.split()[1]) for line in notes.read_text().splitlines()]

    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(folder / "broker"))
        env = {
            **odd,
            "HARDPOSE_BROKER_URL": broker.url,
            "HARDPOSE_HOME": str(folder / "home"),
            "HARDPOSE_TEMP_DIR": str(folder),
            "HARDPOSE_PLACEMENT": PLACEMENT,
            "HARDPOSE_POSE_MODEL": "slow",
            "HARDPOSE_SAMPLING__SEGMENT_SECONDS": "1",
            "HARDPOSE_SAMPLING__CANDIDATES_PER_SECOND": "2",
            "HARDPOSE_VISIBILITY_TIMEOUT": "4",
        }
        for queue in ("download", "mask+me+compare"):
            stack.enter_context(worker(queue, queue, folder, env))
        first = stack.enter_context(worker("pose", "first", folder, env))
        pools = {child.pid for child in psutil.Process(first.pid).children(recursive=True)}
        clip = grey_video(folder / "grey.mp4", 128, SECONDS)
        sent = hardpose("enqueue", clip, env=env)
        assert sent.code == 0, sent.stderr
        wait_for(lambda: len(looks()) >= 2)
        stack.enter_context(worker("pose", "second", folder, env))
        ready = len(looks())
        wait_for(lambda: set(looks()) - pools)
        joined = next(n for n, pid in enumerate(looks()) if pid not in pools)
        wait_for(lambda: looks()[-1] in pools)  # the first is in the middle of a segment, or was a moment ago
        asked = len(looks())
        first.send_signal(signal.SIGTERM)
        code = first.wait(30)
        catalog = Catalog(f"sqlite:///{folder / 'home' / 'catalog.sqlite'}")
        job = sent.stdout.strip()
        wait_for(lambda: catalog.job_light(job).final)
        settings = load_settings(broker_url=broker.url, home=folder / "home")
        left = all_messages(settings, Control.of(settings), ("download", "pose", "mask+me+compare"))
        return Story(looks(), ready, joined, asked, pools, code, catalog.job(job), left)


def test_a_worker_that_is_added_takes_work_within_five_seconds(story: Story) -> None:
    # In looks of the worker that was there: each takes half a second or, on a busy machine, longer.
    assert story.joined - story.ready <= 10
    assert story.joined < 2 * SECONDS - 4, "it was added when all was done"


def test_who_is_asked_to_go_ends_its_segment_and_takes_no_other(story: Story) -> None:
    assert story.code == 0
    assert sum(pid in story.first for pid in story.looks[story.asked :]) <= 2  # of one segment
    assert len(story.looks) - story.asked > 2, "there was nothing left to take"


def test_nothing_is_lost_and_nothing_is_done_twice(story: Story) -> None:
    (link,) = story.job.links
    assert [segment.state for segment in link.segments] == [State.DONE] * SECONDS
    assert len(story.looks) == story.job.funnel().check().examined == 2 * SECONDS
    assert story.left == 0
