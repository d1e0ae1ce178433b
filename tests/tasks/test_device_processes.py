"""Two processes of one worker drive a device: never together, and the death of one costs nothing."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from aborting_device import install
from celery import chain, signature
from hardpose_process import command, environment
from kept_frames import with_keepers

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

pytestmark = pytest.mark.system

MODULE = '''
import os, time
import numpy as np
from broker.recipe import ModelSpec
from workers.devices import known_picture


class Watched:
    """Writes down when a process begins with a picture, and when it is done."""
    batch_size = 1

    def __init__(self, spec, weights, compute):
        self._log = os.open(os.environ["WATCHED_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @classmethod
    def default_spec(cls):
        return ModelSpec(name="watched", version="1")

    def load(self):
        pass

    def maps(self, images):
        (image,) = images
        if image.shape == known_picture.embedded().picture.shape:
            return [np.where(known_picture.embedded().truth, 255, 0).astype(np.uint8)]
        os.write(self._log, f"{os.getpid()} begins\\n".encode())
        time.sleep(0.05)
        os.write(self._log, f"{os.getpid()} ends\\n".encode())
        return [np.full((4, 4), 255, np.uint8)]
'''
PAGE = 'name = "cam"\nfirmware = "1"\ndriver = "watched"\nqueue = "own"\nprocesses = 2\n'
SEGMENTS, FRAMES = 6, 6


def wait_for(done, log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


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
                for work in works:
                    send(app, work)
            wait_for(lambda: len({line.split()[0] for line in seen.read_text().splitlines()}) == 2, log)
            killed = kill_at_work(seen, log)
            wait_for(lambda: control.lengths(["compare"])[0]["compare"] >= SEGMENTS, log)
            (unit,) = DeviceRegister(control).units("cam")
            assert unit.state == UnitState.READY
            assert [card.pid for card in Presence(control).alive()] == [worker.pid]
        finally:
            worker.terminate()
            assert worker.wait(30) == 0
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
        for repeat in (unit_news.REPEAT_SECONDS, 0.0):
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


def kill_at_work(seen: Path, log: Path) -> int:
    """Kills a process in the middle of a picture; its id."""
    wait_for(lambda: seen.read_text().endswith("begins\n"), log)
    pid = int(seen.read_text().splitlines()[-1].split()[0])
    os.kill(pid, signal.SIGKILL)
    return pid


def check_turns(seen: Path, killed: int) -> None:
    at_work, begun, pids = None, 0, set()
    for line in seen.read_text().splitlines():
        pid, word = line.split()
        pids.add(pid)
        if word == "begins":
            assert at_work in (None, str(killed)), "two at once"
            at_work, begun = pid, begun + 1
        else:
            assert pid == at_work
            at_work = None
    assert len(pids) == 3  # two, and the successor of the one that was killed
    assert begun > SEGMENTS * FRAMES
