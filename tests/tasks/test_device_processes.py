"""Two processes of one worker drive a device: never together, and the death of one costs nothing."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from aborting_device import install
from celery import chain, signature
from hardpose_process import command, environment
from kept_frames import with_keepers
from patience import until

from broker.app import create_app
from broker.control import Control
from broker.device_register import DeviceRegister
from broker.embedded import EmbeddedBroker
from broker.messages import SegmentResult
from broker.presence import Presence, WorkerCard
from broker.recipe import ModelSpec, Route, Stage
from broker.settings import load_settings
from broker.unit_state import UnitState
from tasks import unit_news
from tasks.runtime import Runtime
from tasks.unit_news import UnitNews
from workers.devices.description import load_description

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

MODULE = '''
import os, time
import numpy as np
from broker.recipe import ModelSpec
from workers.devices import known_picture


class Watched:
    """Writes down when a process begins with a picture, and when it is done.

    The first one waits for the second, the second never comes back from its first picture, and then the first
    one waits for the successor: so it goes in this order, however late each of them comes up.
    """
    batch_size = 1

    def __init__(self, spec, weights, compute):
        self._log = os.open(os.environ["WATCHED_LOG"], os.O_RDWR | os.O_APPEND | os.O_CREAT)

    def note(self, word):
        os.write(self._log, f"{os.getpid()} {word}\\n".encode())

    def those_that(self, word):
        lines = os.pread(self._log, 10**6, 0).decode().splitlines()
        return {line.split()[0] for line in lines if line.endswith(" " + word)}

    @classmethod
    def default_spec(cls):
        return ModelSpec(name="watched", version="1")

    def load(self):
        self.note("comes")

    def maps(self, images):
        (image,) = images
        if image.shape == known_picture.embedded().picture.shape:
            return [np.where(known_picture.embedded().truth, 255, 0).astype(np.uint8)]
        self.note("begins")
        # The worker itself has loaded it, too, for the device's test.
        while len(self.those_that("comes") - {str(os.getppid())}) < 2 + len(self.those_that("hangs")):
            time.sleep(0.02)
        if len(self.those_that("begins")) == 2 and not self.those_that("hangs"):
            self.note("hangs")
            time.sleep(999)
        time.sleep(0.05)
        self.note("ends")
        return [np.full((4, 4), 255, np.uint8)]
'''
PAGE = 'name = "cam"\nfirmware = "1"\ndriver = "watched"\nqueue = "own"\nprocesses = 2\ntime_limit = 900\n'
SEGMENTS, FRAMES = 6, 6


def test_they_take_turns_and_one_that_is_killed_in_its_turn_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, log, page = tmp_path / "seen", tmp_path / "log", tmp_path / "me.toml"
    env = {**install(tmp_path / "package", "watched", MODULE, "Watched"), "WATCHED_LOG": str(seen)}
    monkeypatch.syspath_prepend(str(tmp_path / "package"))
    page.write_text(PAGE)
    seen.touch()
    with EmbeddedBroker(tmp_path / "broker") as broker:
        settings = load_settings(home=tmp_path / "state", broker_url=broker.url)
        runtime, control = Runtime(settings), Control(broker.url)
        works = segments(runtime, page)
        runtime.control.issue_tickets([work.segment for work in works])
        env |= {"HARDPOSE_BROKER_URL": broker.url, "HARDPOSE_HOME": str(tmp_path / "state")}
        with log.open("wb") as output:
            line = command("worker", "--device", page, "--name", "cam")
            worker = subprocess.Popen(line, env=environment(env), stdout=output, stderr=output)
        try:
            with create_app(settings) as app:
                for work in works[: SEGMENTS // 2]:
                    send(app, work)
                (killed,) = until(lambda: those_that("hangs", seen), log.read_text)
                os.kill(killed, signal.SIGKILL)  # in the middle of a picture
                until(lambda: control.lengths(["compare"])[0]["compare"] >= SEGMENTS // 2, log.read_text)
                (first,) = those_that("ends", seen) & those_that("begins", seen, most=1)
                with stopped(first):  # or it might do all of it before the successor can take anything
                    for work in works[SEGMENTS // 2 :]:
                        send(app, work)
                    until(lambda: len(those_that("begins", seen)) == 3, log.read_text)
            until(lambda: control.lengths(["compare"])[0]["compare"] >= SEGMENTS, log.read_text)
            (unit,) = DeviceRegister(control).units("cam")
            assert unit.state == UnitState.READY
            assert [card.pid for card in Presence(control).alive()] == [worker.pid]
        finally:
            worker.terminate()
            assert worker.wait(120) == 0
    for work in works:
        stored = SegmentResult.model_validate_json(runtime.artifacts.get(work.segment.result_key(Stage.ME)))
        assert [bool(k.device_key) for k in stored.keepers] == [True] * FRAMES
    check_turns(seen, killed)


def test_what_one_process_has_told_is_put_right_by_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec(name="watched", version="cam@1", route=Route(device="cam", firmware="1"))
    card = WorkerCard(name="cam", host="board", pid=7, queues=("me",), version="1", started=0.0)
    with EmbeddedBroker(tmp_path / "broker") as broker:
        control = Control(broker.url)
        one, other = UnitNews(), UnitNews()
        for news in (one, other):
            news.begin(control, spec, card, {}, ready=True)
        states = []
        for repeat in (3600.0, 0.0):
            monkeypatch.setattr(unit_news, "REPEAT_SECONDS", repeat)
            one.is_away()
            other.answers()
            (unit,) = DeviceRegister(control).units("cam")
            states.append(unit.state)
    assert states == [UnitState.WAITING_FOR_DEVICE, UnitState.READY]


def segments(runtime: Runtime, page: Path) -> list[SegmentResult]:
    pictures = [np.full((64, 48, 3), 40 + number, np.uint8) for number in range(FRAMES)]
    first = with_keepers(runtime.artifacts, pictures, load_description(page).spec)
    spans = [{"index": n, "start_ms": n * 20_000, "end_ms": (n + 1) * 20_000} for n in range(SEGMENTS)]
    return [first.model_copy(update={"segment": first.segment.model_copy(update=span)}) for span in spans]


def send(app, work: SegmentResult) -> None:
    drawn = signature("hardpose.me", args=(work.model_dump(mode="json"),), queue="me.cam", app=app)
    chain(drawn, signature("hardpose.compare", queue="compare", app=app), app=app).apply_async()


def those_that(word: str, seen: Path, most: int | None = None) -> set[int]:
    """The processes that have written ``word``, in the first ``most`` lines with it."""
    lines = [line for line in seen.read_text().splitlines() if line.endswith(f" {word}")]
    return {int(line.split()[0]) for line in lines[:most]}


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def check_turns(seen: Path, killed: int) -> None:
    at_work, begun, pids = None, 0, set()
    for line in seen.read_text().splitlines():
        pid, word = line.split()
        if word in ("comes", "hangs"):
            continue
        pids.add(pid)
        if word == "begins":
            assert at_work in (None, str(killed)), "two at once"
            at_work, begun = pid, begun + 1
        else:
            assert pid == at_work
            at_work = None
    assert len(pids) == 3  # two, and the successor of the one that was killed
    assert begun > SEGMENTS * FRAMES
