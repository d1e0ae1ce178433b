"""A recipe's device by the name that it has announced itself by; drivers and files keep their names."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from announced_devices import announce, device_spec

from broker.embedded import EmbeddedBroker
from broker.errors import NotFound
from broker.settings import Settings, load_settings
from tasks.runtime import Runtime


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path_factory.mktemp("valkey")) as broker:
        yield broker


@pytest.fixture
def system(server: EmbeddedBroker, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, broker_url=server.url, namespace=f"t{uuid.uuid4().hex[:12]}")


def naming(system: Settings, name: str) -> Runtime:
    return Runtime(system.model_copy(update={"device_model": name}))


def test_a_recipe_takes_the_announced_device_as_it_is(system: Settings) -> None:
    here = naming(system, "me-2")
    spec = device_spec()
    announce(here.control, spec, silent=7200)  # it may be switched off
    recipe = here.recipe()
    assert recipe.device_model == spec
    assert recipe.id == Runtime(system).recipe().model_copy(update={"device_model": spec}).id
    announce(here.control, device_spec(firmware="2.0"))
    newer = here.recipe()
    assert newer.device_model.version == "me-2@2.0"
    assert newer.id != recipe.id


def test_a_driver_wins_over_a_device_of_its_name(system: Settings) -> None:
    here = naming(system, "litert")
    announce(here.control, device_spec(device="litert"))
    assert here.recipe().device_model.route is None


def test_an_unknown_name_is_told_drivers_and_devices(system: Settings) -> None:
    here = naming(system, "me-9")
    announce(here.control, device_spec())
    with pytest.raises(NotFound, match="'me-9'") as told:
        here.recipe()
    assert "litert" in told.value.remedy
    assert "me-2" in told.value.remedy


def test_without_a_broker_the_drivers_are_told_and_that_it_could_not_be_asked(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"litert.*the broker has to be asked"):
        naming(load_settings(home=tmp_path), "me-9").recipe()
