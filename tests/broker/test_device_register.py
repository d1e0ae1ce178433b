"""Devices announce themselves, are heard of, change their firmware, fall silent, and are still known."""

import threading

import pytest
from announced_devices import device_spec as a_spec
from announced_devices import device_unit as a_unit
from redis_servers import until
from servers_clock import ServersClock

from broker import app as app_module
from broker import presence_beat
from broker.control import Control
from broker.device_register import DeviceAlive, DeviceRegister, UnitState, UnknownDevice
from broker.embedded import EmbeddedBroker
from broker.settings import load_settings


@pytest.fixture
def control(server: EmbeddedBroker, clock: ServersClock, request: pytest.FixtureRequest) -> Control:
    """By a clock that goes on when it is told to."""
    return Control(server.url, f"{request.node.name}:")


@pytest.fixture
def register(control: Control) -> DeviceRegister:
    return DeviceRegister(control)


def silence(control: Control, key: str, seconds: float) -> None:
    """Lets the unit be last heard of ``seconds`` ago."""
    with control.server() as server:
        now, microseconds = server.time()
        seen = now + microseconds / 1e6 - seconds
        server.hset(control.key("devices"), f"seen:{key}", f"{seen:.6f}")


def test_a_unit_says_what_it_is_and_the_register_when_it_was_heard_of(
    register: DeviceRegister, clock: ServersClock
) -> None:
    said = a_unit(a_spec())
    assert register.announce(said) == "me-2@shelf-7:1"
    (unit,) = register.units()
    assert (unit.device, unit.firmware, unit.driver, unit.pixels) == ("me-2", "1.0", "http", "inline")
    assert unit.spec == a_spec()
    assert unit.alive
    assert unit.state == UnitState.READY
    assert (unit.silent, unit.last_seen) == (0, clock.now)
    assert unit.first_seen == unit.since == unit.spec_since == clock.now
    assert register.queues() == ["me"]


def test_a_restarted_unit_is_the_same_and_a_second_one_beside_it_is_another(
    register: DeviceRegister, control: Control
) -> None:
    first = register.announce(a_unit(a_spec(), pid=1))
    assert register.announce(a_unit(a_spec(), pid=1)) == first  # its models were loaded again
    second = register.announce(a_unit(a_spec(), pid=2))
    assert (first, second) == ("me-2@shelf-7:1", "me-2@shelf-7:2")
    register.leave("shelf-7:1")
    assert register.announce(a_unit(a_spec(), pid=3)) == first  # after a stop
    silence(control, second, 120)
    assert register.announce(a_unit(a_spec(), pid=4)) == second  # after a power cut
    assert not register.beat("shelf-7:2")  # whose worker it was
    assert register.announce(a_unit(a_spec(), pid=5, host="shelf-8")) == "me-2@shelf-8:1"
    assert len(register.units("me-2")) == 3


def test_a_silent_unit_stays_known_and_a_beat_brings_it_back(
    register: DeviceRegister, control: Control
) -> None:
    key = register.announce(a_unit(a_spec()))
    silence(control, key, 3 * 3600)
    (unit,) = register.units()
    assert not unit.alive
    assert unit.silent == 3 * 3600
    assert register.spec("me-2") == a_spec()
    assert register.beat("shelf-7:1")
    assert register.units()[0].alive


def test_a_unit_says_that_its_device_is_away_and_since_when(
    register: DeviceRegister, clock: ServersClock
) -> None:
    register.announce(a_unit(a_spec()))
    ready = register.units()[0].since
    clock.go_on(7)
    register.state("shelf-7:1", UnitState.WAITING_FOR_DEVICE)
    away = register.units()[0]
    assert (away.state, away.alive) == (UnitState.WAITING_FOR_DEVICE, True)
    assert away.since == ready + 7
    clock.go_on(1)
    register.state("shelf-7:1", UnitState.WAITING_FOR_DEVICE)
    assert register.units()[0].since == away.since
    register.leave("shelf-7:1")
    assert (register.units()[0].state, register.units()[0].alive) == (UnitState.GONE, False)


def test_the_register_outlives_the_messages(register: DeviceRegister, control: Control) -> None:
    register.announce(a_unit(a_spec()))
    control.begin("some work")
    control.clear_queue_state()
    assert register.names() == ["me-2"]
    assert control.begin("some work") == 1


def test_the_newest_firmware_is_the_one_that_came_last_unless_it_is_taken_back(
    register: DeviceRegister, control: Control, clock: ServersClock
) -> None:
    old, new = a_spec(firmware="1.0"), a_spec(firmware="2.0")
    register.announce(a_unit(old, pid=1))
    clock.go_on(1)
    register.announce(a_unit(new, pid=2))
    clock.go_on(1)
    register.announce(a_unit(old, pid=1))  # starts again, and is not newer for it
    assert [unit.firmware for unit in register.units()] == ["1.0", "2.0"]
    assert register.spec("me-2") == new
    silence(control, "me-2@shelf-7:1", 120)
    silence(control, "me-2@shelf-7:2", 60)
    assert register.spec("me-2") == new  # all away: what is known
    register.announce(a_unit(old, pid=3, host="shelf-8"))
    assert register.spec("me-2") == old


def test_an_unknown_name_is_told_the_known_ones(register: DeviceRegister) -> None:
    with pytest.raises(UnknownDevice, match="None has announced itself yet"):
        register.spec("me-9")
    register.announce(a_unit(a_spec("me-1")))
    register.announce(a_unit(a_spec("me-2"), pid=2))
    with pytest.raises(UnknownDevice, match="me-1, me-2"):
        register.spec("me-9")


def test_forgetting_leaves_what_is_alive_and_the_queue(register: DeviceRegister, control: Control) -> None:
    register.announce(a_unit(a_spec(queue="me.me-2"), pid=1))
    register.announce(a_unit(a_spec(queue="me.me-2"), pid=2))
    register.announce(a_unit(a_spec("me-20"), pid=3))
    with pytest.raises(DeviceAlive, match="All 2 units of me-2"):
        register.forget("me-2")
    silence(control, "me-2@shelf-7:1", 120)
    assert register.forget("me-2") == 1
    assert [unit.key for unit in register.units()] == ["me-2@shelf-7:2", "me-20@shelf-7:1"]
    register.leave("shelf-7:2")
    assert register.forget("me-2") == 1
    assert register.names() == ["me-20"]
    assert register.queues() == ["me", "me.me-2"]  # work may wait there
    with pytest.raises(UnknownDevice):
        register.forget("me-2")


def test_a_worker_that_drives_another_device_now_leaves_the_first(register: DeviceRegister) -> None:
    register.announce(a_unit(a_spec("me-1")))
    register.announce(a_unit(a_spec("me-2")))
    assert [(u.device, u.state) for u in register.units()] == [
        ("me-1", UnitState.GONE),
        ("me-2", UnitState.READY),
    ]


def test_work_for_a_device_that_was_never_heard_of_has_a_known_queue(register: DeviceRegister) -> None:
    register.note_queues(["me.me-3"])
    assert register.queues() == ["me.me-3"]
    assert register.units() == []


@pytest.mark.parametrize("body", ['{"device": "me-9", "colour": "red"}', "{no JSON", "[1]", ""])
def test_a_unit_of_another_release_is_not_shown_and_harms_nobody(
    register: DeviceRegister, control: Control, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    register.announce(a_unit(a_spec()))
    with control.server() as server:
        server.hset(control.key("devices"), "body:me-9@shelf:1", body)
    assert register.names() == ["me-2"]
    (line,) = caplog.messages
    assert "'me-9@shelf:1'" in line
    assert "\n" not in line
    assert register.forget("me-9") == 1
    caplog.clear()
    assert register.names() == ["me-2"]
    assert caplog.messages == []


def test_a_worker_beats_for_its_unit_and_announces_it_anew_to_a_broker_without_memory(
    server: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_beat, "BEAT_SECONDS", 0.02)
    settings = load_settings(broker_url=server.url, namespace="devbeat", device="me.toml")
    control = Control.of(settings)
    register = DeviceRegister(control)
    key = register.announce(a_unit(a_spec()))
    silence(control, key, 120)
    ended = threading.Event()
    beats = threading.Thread(target=presence_beat.beat_until, args=(ended, settings, "shelf-7:1"))
    beats.start()
    try:
        until(lambda: register.units()[0].alive, "a unit that is heard of")
        with control.server() as client:
            client.delete(control.key("devices"))
        until(lambda: [unit.key for unit in register.units()] == [key], "it is announced again")
    finally:
        ended.set()
        beats.join()


def test_flower_shows_the_queues_of_devices(server: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDPOSE_BROKER_URL", server.url)
    monkeypatch.setenv("HARDPOSE_NAMESPACE", "flower")
    DeviceRegister(Control.of(load_settings())).announce(a_unit(a_spec(queue="me.me-2")))
    queues = [queue.name for queue in app_module.app.conf.task_queues]
    assert queues == ["download", "pose", "mask", "me", "compare", "export", "me.me-2"]
