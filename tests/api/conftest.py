"""A broker for the tests that ask one, and settings of a system of their own on it."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers_clock import ServersClock, servers_clock

from broker.embedded import EmbeddedBroker
from broker.settings import Settings, load_settings


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    folder: Path = tmp_path_factory.mktemp("server")
    with EmbeddedBroker(folder) as broker:
        yield broker


@pytest.fixture
def system(server: EmbeddedBroker, tmp_path: Path) -> Settings:
    """Settings of a system that runs: a home of its own, keys of its own."""
    return load_settings(
        home=tmp_path / "state", broker_url=server.url, namespace=f"t{uuid.uuid4().hex[:12]}"
    )


@pytest.fixture
def clock() -> Iterator[ServersClock]:
    """The clock of every broker that the test asks, which goes on when it is told to."""
    with servers_clock() as clock:
        yield clock


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """A server that only stands still on a busy machine is not away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("broker.connection.SILENCE_SECONDS", 100)
        patch.setattr("broker.app.SILENCE_SECONDS", 100)
        patch.setattr("broker.embedded.START_SECONDS", 100)
        patch.setattr("broker.embedded.STOP_SECONDS", 100)
        yield
