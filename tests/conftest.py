"""What several rooms' tests share: real weights and clips, the shared trial data, and a home folder."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from alone import Turns

from broker.settings import Settings, load_settings
from workers.downloads.samples import demo_clips
from workers.weights import WeightsStore

# A busy machine is no reason for a law not to hold: no deadline for a single example.
hypothesis.settings.register_profile(
    "hardpose", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("hardpose")

turns = Turns()


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost: to wait is no part of a test's time limit
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Lets tests marked ``alone`` have the machine to themselves."""
    alone, next_alone = (bool(each and each.get_closest_marker("alone")) for each in (item, nextitem))
    with turns.turn(alone, alone and next_alone):
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with real processes first: they are the longest, and none of them should be left to the end, when
    the other processes that run tests have nothing to do any more."""
    items.sort(key=lambda item: item.get_closest_marker("system") is None)


def pytest_unconfigure() -> None:
    """Leaves no file behind."""
    turns.end()


REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_developer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests see the defaults, whatever the shell or a ``hardpose.toml`` in the working folder says.

    For the whole session, because fixtures of that scope read settings too.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(_is_a_setting, list(os.environ)):
            patch.delenv(name)
        patch.setenv("HARDPOSE_CONFIG", str(tmp_path_factory.mktemp("no-config") / "none.toml"))
        yield


def _is_a_setting(name: str) -> bool:
    kept = ("HARDPOSE_WEIGHTS_DIR", "HARDPOSE_SHARED_DATA")
    return name.startswith("HARDPOSE_") and name not in kept and not name.startswith("HARDPOSE_TEST_")


@pytest.fixture(scope="session")
def weights() -> WeightsStore:
    """The store that the program itself uses; what is missing is fetched from the package index."""
    return WeightsStore(load_settings().weights_dir)


@pytest.fixture(scope="session")
def clips(weights: WeightsStore) -> dict[str, Path]:
    """The eight sample clips by name, such as ``SinglePerson_cam03``."""
    found = {path.stem: path for path in demo_clips(weights)}
    assert len(found) == 8
    return found


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of trial data, which is no part of the project; without it the test is skipped."""
    folder = Path(os.environ.get("HARDPOSE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no trial data at {folder}; name it with HARDPOSE_SHARED_DATA")
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose home is a fresh folder."""
    return load_settings(home=tmp_path / "state")
