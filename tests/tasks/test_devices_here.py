"""Which devices a process drives: the described one alone, or those that can be emulated here."""

from pathlib import Path

import pytest
from device_pages import write_page
from samples_of_books import RECIPE

from broker.errors import SettingsError
from broker.recipe import ModelSpec, Stage
from broker.settings import load_settings
from tasks.devices_here import described_with_file
from tasks.runtime import Runtime
from workers.devices.description import load_description
from workers.devices.errors import DeviceElsewhere, DeviceMismatch
from workers.devices.litert import LiteRTDevice
from workers.weights import WeightsStore


@pytest.fixture
def page(tmp_path: Path, weights: WeightsStore) -> Path:
    model = str(weights.path(LiteRTDevice.default_spec().weights[0]))
    return write_page(tmp_path / "me.toml", "litert", {"model": model})


def runner(settings: object, spec: ModelSpec) -> object:
    recipe = RECIPE.model_copy(update={"device_model": spec})
    return Runtime(settings).runner(Stage.ME, recipe)  # type: ignore[arg-type]


def test_a_described_device_does_its_own_work_and_no_other(page: Path, tmp_path: Path) -> None:
    own = load_description(page).spec
    settings = load_settings(home=tmp_path / "home", device=page)
    assert runner(settings, own)
    elsewhere = own.model_copy(update={"route": None, "weights": described_with_file(page).weights})
    assert runner(settings, elsewhere), "where the bytes come from makes no other device"
    newer = load_description(
        write_page(tmp_path / "2.toml", "litert", {"model": str(model_of(page))}, firmware="2")
    )
    with pytest.raises(DeviceMismatch, match=r"me-2@2 .*me-2@1\.0"):
        runner(settings, newer.spec)


def test_what_is_elsewhere_is_not_guessed_at(page: Path, tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home", weights_dir=tmp_path / "weights")
    own = load_description(page).spec
    with pytest.raises(DeviceElsewhere, match=r"litert me-2@1\.0"):
        runner(settings, own)  # its network never leaves the device
    assert runner(settings, described_with_file(page)), "with the file at hand it is emulated"
    reached = write_page(tmp_path / "h.toml", "http", {"url": "http://127.0.0.1:9/mask"}, input=[8, 8])
    with pytest.raises(DeviceElsewhere, match=r"http me-2@1\.0"):
        runner(settings, load_description(reached).spec)
    delegated = own.model_copy(update={"options": {**own.options, "delegate": "libnpu.so"}})
    with pytest.raises(DeviceElsewhere):
        runner(settings, delegated.model_copy(update={"weights": described_with_file(page).weights}))


def test_a_device_with_a_queue_of_its_own_shares_no_process(page: Path, tmp_path: Path) -> None:
    own = write_page(tmp_path / "own.toml", "litert", {"model": str(model_of(page))}, queue="own")
    given = {"home": tmp_path / "home", "device_model": str(own)}
    assert Runtime(load_settings(**given)).recipe().device_model.route is not None
    with pytest.raises(SettingsError, match=r"me\.me-2"):
        Runtime(load_settings(**given, placement="pose | mask | me+compare")).recipe()


def model_of(page: Path) -> Path:
    found = load_description(page).model
    assert found is not None
    return found
