"""What is handed to whoever sets up a device: every page, setting and path in it is one that there is."""

import configparser
import shutil
from pathlib import Path

import pytest

from api.exit_codes import ExitCode
from broker.settings import Settings
from workers.devices.description import load_description
from workers.devices.litert import LiteRTDevice
from workers.weights import WeightsStore

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "device"


@pytest.mark.parametrize(
    ("name", "driver"), [("npu", "litert"), ("http", "http"), ("adb", "command"), ("ssh", "command")]
)
def test_every_page_describes_a_device(name: str, driver: str, tmp_path: Path, weights: WeightsStore) -> None:
    shutil.copytree(FOLDER, tmp_path / "device")
    shutil.copy(weights.path(LiteRTDevice.default_spec().weights[0]), tmp_path / "device" / "me.tflite")
    description = load_description(tmp_path / "device" / f"{name}.toml")
    assert (description.spec.name, description.name, description.firmware) == (driver, "me-2", "2.1.0")
    assert description.spec.route is not None
    assert (description.spec.route.queue, description.spec.route.pixels) == ("me.me-2", "inline")


def test_the_environment_names_settings_that_there_are() -> None:
    lines = (FOLDER / "device.env.example").read_text().splitlines()
    names = [line.partition("=")[0] for line in lines if line and not line.startswith("#")]
    assert len(names) == 4
    assert {name.removeprefix("HARDPOSE_").lower() for name in names} <= set(Settings.model_fields)


def test_the_unit_stays_down_over_a_wrong_page_alone() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(FOLDER / "hardpose-device.service")
    service = unit["Service"]
    assert int(service["RestartPreventExitStatus"]) == ExitCode.USAGE
    assert service["Restart"] == "always"
    assert int(service["TimeoutStopSec"]) > Settings.model_fields["hard_time_limit"].default
    assert service["ExecStart"].split()[1:4] == ["worker", "--device", "/etc/hardpose/me.toml"]
