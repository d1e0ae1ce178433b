"""``hardpose devices``, and what ``status`` and ``watch`` say of a device that is away."""

import json
from pathlib import Path

import pytest
from announced_devices import announce, device_spec, device_unit
from samples_of_books import RECIPE, a_result, planned
from typer.testing import CliRunner

from api.cli import cli
from api.device_wait import DeviceWait, ask_device, device_wait
from api.doctor_models import model_findings
from api.exit_codes import ExitCode
from api.findings import Finding
from api.metrics import collect
from api.progress import Lines
from api.snapshot import Eta, Snapshot
from broker.app import create_app
from broker.backlog import Backlog
from broker.control import Control
from broker.device_register import DeviceRegister, UnitState
from broker.presence import ALIVE_SECONDS
from broker.recipe import CHAIN, ModelSpec, Stage
from broker.settings import Settings
from tasks.reconcile import Reconciler
from tasks.runtime import Runtime

pytestmark = pytest.mark.usefixtures("clock")
"""It stands still: whoever has announced himself stays heard of, however long a test takes."""
OWN = "me.me-2"
SPEC = device_spec(queue=OWN)


@pytest.fixture
def env(system: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in system.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def control(system: Settings) -> Control:
    return Control.of(system)


def hold(control: Control, job_id: str, *keys: str, queue: str = OWN) -> None:
    for key in keys:
        Backlog(control).hold(queue, ("mask", queue), key, {"task": "x"}, ticket="1", job_id=job_id, rank=3)


def put(control: Control, queue: str, count: int) -> None:
    with control.server() as server:
        for number in range(count):
            server.lpush(f"{control.key('').removesuffix('hardpose:')}{queue}", str(number))


def run(*arguments: str, code: ExitCode = ExitCode.OK) -> str:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.usefixtures("env")
def test_every_device_is_listed_with_its_units_and_what_waits(system: Settings, control: Control) -> None:
    system.home.mkdir()
    runtime = Runtime(system)
    for segment in planned(runtime.catalog, 2):
        runtime.catalog.settle_segment(a_result(segment))
    announce(control, device_spec(queue=OWN, firmware="1.0"), pid=1)
    announce(control, device_spec(queue=OWN, firmware="2.0"), pid=2)
    announce(control, device_spec(queue=OWN, firmware="1.0"), pid=3, silent=3 * 3600)
    put(control, OWN, 42)
    hold(control, "job", "a", "b")
    emulated, old, new = (line for line in run("devices").splitlines()[1:] if not line.startswith(" "))
    assert run("devices", "list").splitlines()[1:][0] == emulated
    assert emulated.split()[:4] == [RECIPE.device_model.name, RECIPE.device_model.version,
                                    RECIPE.device_model.name, "emulated"]  # fmt: skip
    assert old.split()[:7] == ["me-2", "1.0", "http", OWN, "42", "+", "2"]
    assert "me-2@shelf-7:1" in old
    assert "at work" in old
    (silent,) = [line for line in run("devices").splitlines() if "me-2@shelf-7:3" in line]
    assert silent.split()[1:] == ["silent", "3.0", "h", "ago"]
    assert new.split()[1] == "2.0"
    said = json.loads(run("devices", "--json"))
    assert said["broker"] == "answers"
    first, second, third = said["devices"]
    assert (first["device"], first["queue"], first["units"]) == (RECIPE.device_model.name, None, [])
    assert first["hard_share"] == first["hard"] / first["frames"] > 0
    assert (second["firmware"], second["waiting"], second["held"], second["state"]) == (
        "1.0",
        42,
        2,
        "at_work",
    )
    assert [unit["condition"] for unit in second["units"]] == ["at_work", "silent"]
    assert third["hard_share"] is None


@pytest.mark.usefixtures("env")
def test_a_device_is_forgotten_when_it_is_gone_and_its_name_is_known(control: Control) -> None:
    announce(control, device_spec(), pid=1)
    said = run("devices", "forget", "me-2", code=ExitCode.USAGE)
    assert "me-2 is alive" in said
    DeviceRegister(control).leave("shelf-7:1")
    assert "stopped" in run("devices")
    assert "1 unit forgotten" in run("devices", "forget", "me-2")
    assert "me-2" not in run("devices")
    assert "unknown_device" in run("devices", "forget", "me-2", code=ExitCode.USAGE)
    assert "behind it" in run("devices", "--json", "forget", "me-2", code=ExitCode.USAGE)


@pytest.mark.usefixtures("env")
def test_without_a_broker_the_books_are_shown(system: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    system.home.mkdir()
    planned(Runtime(system).catalog, 1)
    monkeypatch.setenv("HARDPOSE_BROKER_URL", "redis://127.0.0.1:1/0")
    said = run("devices")
    assert "What is there now is not known" in said
    assert RECIPE.device_model.name in said


@pytest.mark.usefixtures("env")
def test_a_page_that_is_wrong_is_told_with_its_line(tmp_path: Path) -> None:
    page = tmp_path / "me.toml"
    page.write_text('name = "me-2"\nfirmware = "1.0"\ndriver = "telepathy"\n')
    said = run("devices", "test", str(page), code=ExitCode.USAGE)
    assert "device_misdescribed" in said
    assert "line 3" in said


def test_the_doctor_knows_a_device_by_its_name(system: Settings, control: Control) -> None:
    announce(control, SPEC)

    def finding(name: str) -> Finding:
        named = system.model_copy(update={"device_model": name})
        (found,) = [each for each in model_findings(named) if each.what == "model for me"]
        return found

    assert (finding("me-2").ok, finding("me-2").detail) == (True, "me-2: me-2@1.0, driven by http")
    assert not finding("me-9").ok
    assert "me-2" in finding("me-9").remedy


BY_STAGE = {**dict.fromkeys(CHAIN, 0), Stage.POSE: 50, Stage.MASK: 45, Stage.ME: 5}


def wait(system: Settings, device: ModelSpec = SPEC) -> DeviceWait | None:
    return device_wait(system, Control.of(system), "job", device, BY_STAGE, 45)


def test_what_waits_for_a_device_is_said_with_the_reason(system: Settings, control: Control) -> None:
    assert str(wait(system)) == "40 segments wait for me-2, never heard of"
    key = announce(control, SPEC, silent=3 * 3600)
    assert str(wait(system)) == "40 segments wait for me-2, last heard of 3.0 h ago"
    hold(control, "job", "a", "b")
    hold(control, "another", "c")
    assert str(wait(system)) == (
        "42 segments wait for me-2, last heard of 3.0 h ago (2 of them held before the first stage)"
    )
    DeviceRegister(control).state("shelf-7:1", UnitState.WAITING_FOR_DEVICE)
    assert str(wait(system)).startswith("42 segments wait for me-2, which does not answer its worker")
    DeviceRegister(control).state("shelf-7:1", UnitState.READY)
    assert str(wait(system)) == "42 segments wait for me-2 (2 of them held before the first stage)"
    control.void_tickets({"a": "9", "b": "9"})
    assert wait(system) is None  # it is at it
    DeviceRegister(control).leave("shelf-7:1")
    assert "whose worker was stopped" in str(wait(system))
    assert key in {unit.key for unit in DeviceRegister(control).units()}


def test_another_firmware_does_not_do_the_work(system: Settings, control: Control) -> None:
    announce(control, device_spec(queue=OWN, firmware="2.0"))
    assert str(wait(system)) == "40 segments wait for me-2, never heard of"


def test_a_replay_waits_in_the_queue_of_its_device(system: Settings, control: Control) -> None:
    def replay(queue: str) -> DeviceWait | None:
        return device_wait(system, control, "job", device_spec(queue=queue), dict.fromkeys(CHAIN, 0), 30)

    assert replay(OWN) is None
    put(control, OWN, 42)
    assert str(replay(OWN)) == "30 segments wait for me-2, never heard of"  # the others are another job's
    hold(control, "job", "a")
    assert str(replay(OWN)).startswith("30 segments wait for me-2, never heard of (1 of them held")
    put(control, "me", 12)  # that devices share
    assert str(replay("me")).startswith("13 segments wait for me-2, never heard of (1 of them held")


def test_an_emulated_device_is_waited_for_where_segments_are_held(system: Settings, control: Control) -> None:
    assert wait(system, RECIPE.device_model) is None
    hold(control, "job", "a", queue="me")
    said = wait(system, RECIPE.device_model)
    assert said is not None
    assert not said.away
    assert "for the workers of me (1 of them held" in str(said)


def test_nobody_can_say_how_long_a_device_stays_away(system: Settings) -> None:
    moved = Snapshot(1, 0, 0, 0, 50, {"pose": 50, "mask": 45, "me": 5, "compare": 5})
    eta = Eta()
    eta._started -= 100
    eta.note(Snapshot(1, 0, 0, 0, 50, {"pose": 10}))
    eta.note(moved)
    assert eta.left() is not None
    away = Snapshot(1, 0, 0, 0, 50, {"pose": 50, "mask": 45, "me": 5, "compare": 5}, device=wait(system))
    eta.note(away)
    assert eta.left() is None
    eta._changed -= 1000
    eta.note(away)
    assert eta.quiet < 500  # no hang: it is known what for


def test_a_watcher_reads_it_in_his_line(system: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as lines:
        lines.show(Snapshot(1, 0, 0, 0, 50, device=wait(system)))
    assert "40 segments wait for me-2, never heard of" in capsys.readouterr().err


@pytest.mark.usefixtures("env")
def test_status_says_which_devices_are_waited_for(system: Settings, control: Control) -> None:
    system.home.mkdir()
    runtime = Runtime(system)
    recipe = RECIPE.model_copy(update={"device_model": SPEC})
    runtime.catalog.create_job("job", recipe, ["https://example.org/a.mp4"])
    announce(control, SPEC, silent=3 * 3600)
    put(control, OWN, 41)
    hold(control, "job", "a")
    line = "42 segments wait for me-2, last heard of 3.0 h ago (1 of them held before the first stage)."
    assert line in run("status")
    (told,) = json.loads(run("status", "--json"))["devices"]
    assert (told["device"], told["segments"], told["held"], told["state"]) == ("me-2", 42, 1, "silent")
    said = ask_device(system, runtime.catalog.job("job"))
    assert said is not None
    assert f"{said}." in run("status", "job")
    assert json.loads(run("status", "job", "--json"))["device"]["segments"] == 1


def test_segments_that_wait_for_a_device_are_not_lost_messages(
    system: Settings, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    with create_app(system) as app:
        looking = Reconciler(app, Runtime(system))
        monkeypatch.setattr("tasks.reconcile.LOOK_SECONDS", 0.0)
        looking._seen -= 10 * ALIVE_SECONDS
        DeviceRegister(control).note_queues([OWN])
        put(control, OWN, 1)
        assert looking._messages()
        with control.server() as server:
            server.flushdb()
        assert not looking._messages()
        hold(control, "job", "a")
        assert looking._messages()


def test_prometheus_is_told_of_every_unit_and_every_queue(system: Settings, control: Control) -> None:
    announce(control, SPEC, pid=1)
    announce(control, SPEC, pid=2, silent=3600)
    put(control, OWN, 3)
    hold(control, "job", "a")
    text = collect(Runtime(system)).decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines['hardpose_device_units{device="me-2",state="at_work"}']) == 1
    assert float(lines['hardpose_device_units{device="me-2",state="silent"}']) == 1
    assert float(lines['hardpose_device_units{device="me-2",state="gone"}']) == 0
    assert float(lines[f'hardpose_queue_messages{{queue="{OWN}"}}']) == 3
    assert float(lines[f'hardpose_held_segments{{queue="{OWN}"}}']) == 1
    seen = [float(value) for name, value in lines.items() if name.startswith("hardpose_device_last_seen")]
    assert len(seen) == 2
    assert seen[0] - seen[1] == 3600
    unit = device_unit(SPEC)
    assert any(f'firmware="{unit.firmware}"' in name for name in lines)
