"""A second worker in the middle of a job, and the first one asked to go: what is done is done once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from ended import ended
from hardpose_process import PATIENCE_SECONDS, command, environment, hardpose, wait_for
from odd_models_package import gate_of, install
from test_life import grey_video

from broker.catalog import Catalog
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.queue_lengths import all_messages
from broker.settings import load_settings
from broker.views import JobView, State

pytestmark = pytest.mark.system

SECONDS = 16
"""Of the clip; a segment each, with two looks."""
PLACEMENT = "pose | mask+me+compare"


@dataclass(frozen=True)
class Story:
    """What the looks' notes say; each is the process that looked."""

    looks: list[int]
    ready: int
    """Looks that had begun when the second worker was ready; the first worker is held in the last of them."""
    joined: int
    """Looks before the first one of the second worker."""
    asked: int
    """Looks so far when the first one knew that it was to go; it was still held in the same."""
    first: set[int]
    """The processes of the first worker."""
    code: int
    job: JobView
    seconds: float
    """From when the second worker was seen to be ready until its first look was seen."""


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
    gate = gate_of(odd)
    gate.let(2)  # the first segment's

    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(folder / "broker"))
        env = {
            **odd,
            "HARDPOSE_BROKER_URL": broker.url,
            "HARDPOSE_HOME": str(folder / "home"),
            "HARDPOSE_TEMP_DIR": str(folder),
            "HARDPOSE_PLACEMENT": PLACEMENT,
            "HARDPOSE_POSE_MODEL": "gated",
            "HARDPOSE_SAMPLING__SEGMENT_SECONDS": "1",
            "HARDPOSE_SAMPLING__CANDIDATES_PER_SECOND": "2",
        }
        for queue in ("download", "mask+me+compare"):
            stack.enter_context(worker(queue, queue, folder, env))
        first = stack.enter_context(worker("pose", "first", folder, env))
        pools = {child.pid for child in psutil.Process(first.pid).children(recursive=True)}
        clip = grey_video(folder / "grey.mp4", 128, SECONDS)
        sent = hardpose("enqueue", clip, env=env)
        assert sent.code == 0, sent.stderr
        wait_for(lambda: len(gate.looks) >= 3)  # in its second segment
        stack.enter_context(worker("pose", "second", folder, env))
        ready, began = len(gate.looks), time.monotonic()
        wait_for(lambda: set(gate.looks) - pools)
        seconds = time.monotonic() - began
        joined = next(n for n, pid in enumerate(gate.looks) if pid not in pools)
        first.send_signal(signal.SIGTERM)
        wait_for(lambda: "Warm shutdown" in log_of(folder, "first"))
        asked = len(gate.looks)
        gate.open()
        code = first.wait(PATIENCE_SECONDS)
        catalog = Catalog(f"sqlite:///{folder / 'home' / 'catalog.sqlite'}")
        job = sent.stdout.strip()
        wait_for(lambda: catalog.job_light(job).final)
        settings = load_settings(broker_url=broker.url, home=folder / "home")
        queues = ("download", "pose", "mask+me+compare")
        wait_for(lambda: all_messages(settings, Control.of(settings), queues) == 0)  # nothing is left behind
        return Story(gate.looks, ready, joined, asked, pools, code, catalog.job(job), seconds)


def test_a_worker_that_is_added_takes_the_next_segment(story: Story) -> None:
    assert story.looks[0] in story.first
    assert story.ready == story.joined == 3  # while the other one is held at its own
    sys.stderr.write(f"{story.seconds:.1f} s after it was ready\n")
    if os.environ.get("HARDPOSE_TEST_QUIET"):  # only with the machine to itself
        assert story.seconds < 5


def test_who_is_asked_to_go_ends_its_segment_and_takes_no_other(story: Story) -> None:
    assert story.code == 0
    assert sum(pid in story.first for pid in story.looks[story.asked :]) == 1  # its segment's other look
    assert len(story.looks) - story.asked > 2, "there was nothing left to take"


def test_nothing_is_lost_and_nothing_is_done_twice(story: Story) -> None:
    (link,) = story.job.links
    assert [segment.state for segment in link.segments] == [State.DONE] * SECONDS
    assert len(story.looks) == story.job.funnel().check().examined == 2 * SECONDS
