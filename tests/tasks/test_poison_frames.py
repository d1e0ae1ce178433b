"""A frame that ends the process which drives the device: found, condemned, and the others get their masks."""

import subprocess
from collections.abc import Iterator
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
from broker.embedded import EmbeddedBroker
from broker.messages import SegmentResult, Verdict
from broker.recipe import ModelSpec, Stage
from broker.settings import load_settings
from tasks.attempts import Poison, counted
from tasks.compare import Compare
from tasks.frames import Frames
from tasks.runtime import Runtime
from tasks.suspect_frames import MOST_CONDEMNED, current_suspects, suspects_of
from workers.devices.errors import DeviceAway

MOST = 3
"""Starts of a segment, as by default."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path_factory.mktemp("poison-frames")) as broker:
        yield broker


@pytest.fixture
def control(broker: EmbeddedBroker) -> Control:
    return Control(broker.url)


def dies(control: Control, name: str, frame: int | None) -> None:
    """A start that ends its process while the device is shown ``frame``; None: it noted nothing."""
    control.begin(name)
    if frame is not None:
        with control.server() as server:
            server.set(control.key(f"suspect:{name}"), frame)


def test_each_death_over_a_noted_frame_is_excused(control: Control) -> None:
    dies(control, "segment", None)
    for number in range(MOST_CONDEMNED):
        dies(control, "segment", 100 * number)
        with suspects_of(control, "segment") as suspects:
            assert suspects.resume(2 + number) == number + 1
        # `with` has ended well and so forgot: what follows stands for a process that died inside it.
        with control.server() as server:
            server.sadd(control.key("condemned:segment"), *[100 * n for n in range(number + 1)])
    with (
        suspects_of(control, "segment") as suspects,
        counted(control, "segment", MOST, "It", suspects.resume) as starts,
    ):
        assert starts == MOST_CONDEMNED + 2 > MOST
        assert current_suspects() is suspects
        assert sorted(suspects.condemned) == [100 * n for n in range(MOST_CONDEMNED)]
    with control.server() as server:
        assert server.keys(control.key("*segment")) == []


def test_a_device_that_kills_over_every_frame_makes_poison(control: Control) -> None:
    with control.server() as server:
        server.sadd(control.key("condemned:bad"), *range(MOST_CONDEMNED + 1))
    dies(control, "bad", None)
    with (
        pytest.raises(Poison, match=f"{MOST_CONDEMNED + 1} frames"),
        suspects_of(control, "bad") as suspects,
        counted(control, "bad", MOST, "It", suspects.resume),
    ):
        pytest.fail("it was started once more")


def test_deaths_that_no_frame_explains_are_still_counted(control: Control) -> None:
    for _ in range(MOST):
        dies(control, "dark", None)
    with (
        pytest.raises(Poison, match="ended its worker process 3 times"),
        suspects_of(control, "dark") as suspects,
        counted(control, "dark", MOST, "It", suspects.resume),
    ):
        pytest.fail("it was started once more")


def test_a_device_that_is_away_counts_no_attempt_and_forgets_no_condemned_frame(control: Control) -> None:
    dies(control, "away", None)
    dies(control, "away", 700)
    for _ in range(2 * MOST):  # as often as it likes
        with (
            pytest.raises(DeviceAway),
            suspects_of(control, "away") as suspects,
            counted(control, "away", MOST, "It", suspects.resume) as starts,
        ):
            assert starts <= MOST
            assert suspects.condemned == {700}
            raise DeviceAway("It does not answer.", "Wait.")


RED, GREY = (255, 0, 0), (90, 90, 90)
COLOURS = (GREY, RED, GREY, GREY, RED, GREY)


@pytest.mark.system
def test_two_frames_that_abort_the_driver_cost_two_frames(broker: EmbeddedBroker, tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "state", broker_url=broker.url)
    runtime = Runtime(settings)
    pictures = [np.full((64, 48, 3), colour, np.uint8) for colour in COLOURS]
    start = with_keepers(runtime.artifacts, pictures, ModelSpec(name="aborting", version="1"))
    env = environment(
        {
            **install(tmp_path / "package"),
            "HARDPOSE_BROKER_URL": broker.url,
            "HARDPOSE_HOME": str(tmp_path / "state"),
            "HARDPOSE_DEVICE_MODEL": "aborting",
        }
    )
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command("worker", "me"), env=env, stdout=log, stderr=log)
    try:
        runtime.control.issue_tickets([start.segment])
        with create_app(settings) as app:
            drawn = signature("hardpose.me", args=(start.model_dump(mode="json"),), queue="me", app=app)
            chain(drawn, signature("hardpose.compare", queue="compare", app=app), app=app).apply_async()
        until(lambda: runtime.control.lengths(["compare"])[0]["compare"], (tmp_path / "log").read_text)
    finally:
        worker.terminate()
        worker.wait(120)
    stored = runtime.artifacts.get(start.segment.result_key(Stage.ME))
    result = Compare().run(SegmentResult.model_validate_json(stored), Frames(runtime.artifacts))
    assert [k.fault for k in result.keepers] == ["device_poison_frame" * (c == RED) for c in COLOURS]
    funnel = result.funnel()
    assert (funnel.examined, funnel.of(Verdict.FAILED), funnel.of(Verdict.EASY)) == (6, 2, 4)
    deaths = (tmp_path / "log").read_text().count("signal 6 (SIGABRT)")
    assert deaths >= 3  # one in the dark, and one over each of the two
