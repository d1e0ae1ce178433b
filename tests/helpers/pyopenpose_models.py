"""The model pyopenpose on the stand-in for OpenPose's module, as its tests open it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import fake_openpose
import numpy as np
import pytest

from workers.compute import Compute
from workers.errors import ImageFailed
from workers.models import Weights
from workers.options import with_options
from workers.pose.pyopenpose.model import PyOpenPose

NOBODY, ONE, TWO, FAULT = 0, 1, 2, 99
Open = Callable[..., PyOpenPose]


class NoWeights(Weights):
    """It must not ask for any."""


def picture(shows: int, height: int = 32, width: int = 40) -> np.ndarray:
    """H x W x 3 uint8 RGB; the blue of its first pixel tells the stand-in what to find."""
    image = np.zeros((height, width, 3), np.uint8)
    image[0, 0] = (11, 22, shows)
    return image


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "notes"
    monkeypatch.setenv("FAKE_OPENPOSE_NOTES", str(file))
    return file


@pytest.fixture
def open_model(tmp_path: Path) -> Iterator[Open]:
    """Opens the model with the stand-in; ends its processes after the test."""
    folder = fake_openpose.install(tmp_path / "build")
    opened: list[PyOpenPose] = []

    def opens(**options: object) -> PyOpenPose:
        spec = with_options(
            PyOpenPose.default_spec(), {"python_path": folder, "start_seconds": 120.0, **options}
        )
        opened.append(PyOpenPose(spec, NoWeights(), Compute(threads=2)))
        return opened[-1]

    yield opens
    for model in opened:
        model.close()


def accounts(model: PyOpenPose, frames: list[int]) -> list[int | str]:
    """For each frame the number of people, or "failed"; what a stage does with them."""
    found: list[int | str] = []
    for shows in frames:
        try:
            (people,) = model.find_people([picture(shows)])
            found.append(len(people))
        except ImageFailed as error:
            assert error.remedy
            found.append("failed")
    return found
