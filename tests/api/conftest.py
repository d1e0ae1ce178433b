"""A broker for the tests that ask one, and settings of a system of their own on it."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_fixtures import clock as clock
from server_fixtures import patience as patience

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
