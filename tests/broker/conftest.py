"""Servers for the tests: SQLite and PostgreSQL (our own or a given one) for the books, and Valkey."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import a_database, a_server
from server_fixtures import clock as clock
from server_fixtures import patience as patience

from broker.catalog import Catalog
from broker.control import Control
from broker.embedded import EmbeddedBroker


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A Valkey of the module's own."""
    with EmbeddedBroker(tmp_path_factory.mktemp("valkey")) as broker:
        yield broker


@pytest.fixture(scope="module")
def control(server: EmbeddedBroker) -> Control:
    """The shared state on it."""
    return Control(server.url)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server on which databases may be made."""
    with a_server() as server_url:
        yield server_url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'a folder' / 'catalog.sqlite'}"
        return
    with a_database(request.getfixturevalue("postgres")) as database:
        yield database


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    catalog = Catalog(url)
    catalog.migrate()
    yield catalog
    catalog.dispose()
