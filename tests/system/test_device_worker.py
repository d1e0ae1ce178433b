"""``hardpose worker --device``: what ends it at once, what it waits for, and how it is told to stop."""

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from device_pages import reference_server, write_page
from hardpose_process import PATIENCE_SECONDS, hardpose, start, wait_for

from api.exit_codes import ExitCode
from broker.control import Control
from broker.device_register import DeviceRegister, DeviceUnit
from broker.embedded import EmbeddedBroker
from broker.errors import SettingsError
from broker.presence import Presence
from broker.recipe import Route
from broker.unit_state import UnitState
from workers.device_start import device_queues
from workers.devices.description import DeviceDescription, load_description
from workers.devices.litert import LiteRTDevice
from workers.weights import WeightsStore

pytestmark = pytest.mark.system

NO_BROKER = {"HARDPOSE_BROKER_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
def page(tmp_path: Path, weights: WeightsStore) -> Callable[..., Path]:
    """Writes the page of the embedded network; keys in place of its own."""
    model = str(weights.path(LiteRTDevice.default_spec().weights[0]))

    def write(**network: object) -> Path:
        return write_page(tmp_path / "me.toml", "litert", {"model": model, **network}, queue="own")

    return write


def test_a_wrong_page_ends_it_with_the_line(page: Callable[..., Path]) -> None:
    ended = hardpose("worker", "--device", page(output="propability"), env=NO_BROKER)
    assert ended.code == ExitCode.USAGE
    assert "device_misdescribed" in ended.stderr
    assert "line 7 (network.output)" in ended.stderr


def test_it_serves_no_other_stage(page: Callable[..., Path]) -> None:
    ended = hardpose("worker", "pose", "--device", page(), env=NO_BROKER)
    assert ended.code == ExitCode.USAGE
    assert "'pose'" in ended.stderr
    assert "line 4 (queue)" in ended.stderr


def test_me_is_the_queue_of_the_page(page: Callable[..., Path]) -> None:
    own = load_description(page())
    shared = replace(own, spec=own.spec.model_copy(update={"route": route_of(own, "me")}))
    for asked in ([], ["me"], ["me.me-2"], ["me", "me.me-2"]):
        assert device_queues(own, asked) == ("me.me-2",)
    assert device_queues(shared, []) == device_queues(shared, ["me"]) == ("me",)
    for description, asked in ((own, "me.me-3"), (shared, "me.me-2"), (own, "me+compare"), (own, "export")):
        with pytest.raises(SettingsError, match=asked.replace("+", r"\+")):
            device_queues(description, [asked])


def route_of(description: DeviceDescription, queue: str) -> Route:
    assert description.spec.route is not None
    return description.spec.route.model_copy(update={"queue": queue})


def test_a_device_that_does_not_answer_is_waited_for(page: Callable[..., Path], tmp_path: Path) -> None:
    """Its page is put right meanwhile, and spoilt later, which is nothing to a worker that runs."""
    behind = tmp_path / "behind.toml"
    write_page(behind, "http", {"url": "http://127.0.0.1:1/mask"}, queue="own", input=[256, 256])
    with EmbeddedBroker(tmp_path / "broker") as broker:
        control = Control(broker.url)
        register, workers = DeviceRegister(control), Presence(control)
        worker = start("worker", "--device", behind, env={"HARDPOSE_BROKER_URL": broker.url})
        try:
            assert state_of(register, UnitState.WAITING_FOR_DEVICE).self_test_iou is None
            with reference_server(page()) as address:
                write_page(behind, "http", {"url": address}, queue="own", input=[256, 256])
                assert (state_of(register, UnitState.READY).self_test_iou or 0) > 0.5
                wait_for(lambda: workers.alive())
                (card,) = workers.alive()
                behind.write_text("name = ")
                workers.withdraw(card.key)
                (child,) = psutil.Process(worker.pid).children()
                child.kill()
                wait_for(lambda: workers.alive())
                assert workers.alive()[0].models == card.models != {}
                worker.send_signal(signal.SIGTERM)
                output, _ = worker.communicate(timeout=PATIENCE_SECONDS)
        finally:
            worker.kill()
    assert worker.returncode == 0, output
    assert "waiting for the device me-2" in output
    assert broker.url not in output


def state_of(register: DeviceRegister, state: UnitState) -> DeviceUnit:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := [unit for unit in register.units("me-2") if unit.state == state]):
        assert time.monotonic() < deadline, register.units()
        time.sleep(0.2)
    return found[0]
