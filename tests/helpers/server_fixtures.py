"""Fixtures of all tests that ask a broker."""

from collections.abc import Iterator

import pytest
from servers_clock import ServersClock, servers_clock


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
