"""What the model pyopenpose can be told, and what not."""

import pytest

from broker.errors import SettingsError
from workers.compute import Compute
from workers.models import Weights
from workers.pose.pyopenpose.model import PyOpenPose


class NoWeights(Weights):
    """It must not ask for any."""


@pytest.mark.parametrize(
    "options",
    [
        {"flags": "model_pose=COCO"},
        {"flags": "num_gpu=0"},  # switches OpenPose off without a word
        {"flags": "keypoint_scale=3"},
        {"flags": "scale_number"},
        {"flags": "--scale_number=2"},
        {"frame_seconds": 0.0},
        {"frame_seconds": float("inf")},  # more than a wait on a pipe can have
        {"start_seconds": 1e9},
        {"start_seconds": float("nan")},
        {"person_min_confidence": float("nan")},
        {"recycle_frames": -1},
        {"recycle_frames": "many"},
        {"nonsense": 1},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, str | float]) -> None:
    spec = PyOpenPose.default_spec()
    given = spec.model_copy(update={"options": {**spec.options, **options}})
    with pytest.raises(SettingsError, match=next(iter(options))):
        PyOpenPose(given, NoWeights(), Compute())
