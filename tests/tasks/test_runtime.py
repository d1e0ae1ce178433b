"""What a process makes of its settings, with weights that are here, elsewhere, or nowhere."""

from pathlib import Path

import pytest

from broker.errors import SettingsError, WeightsError
from broker.recipe import Stage, WeightsRef
from broker.settings import Settings
from tasks.preloading import preload
from tasks.runtime import Runtime
from workers.added import AddedWeights, remember


def settings_of(tmp_path: Path, **given: object) -> Settings:
    return Settings(home=tmp_path / "home", weights_dir=tmp_path / "weights", **given)  # type: ignore[arg-type]


def pretend_added(settings: Settings, model: str, file: str) -> None:
    ref = WeightsRef(file=file, sha256="0" * 64, source=f"added:{model}/{file}", licence="L", size=1)
    remember(settings.weights_dir, AddedWeights(model, ref, "custom-00000000", False, file))


@pytest.mark.parametrize(
    ("stage", "model", "options", "said"),
    [
        ("pose", "openpose-body25", {"net_height": -3}, "net_height"),  # fits the type, and no network
        ("pose", "openpose-body25", {"precision": "fp8"}, "precision"),
        ("mask", "matterport", {"runtime": "torch"}, "runtime"),
        ("mask", "blazepose", {"min_score": "often"}, "min_score"),
    ],
)
def test_an_option_that_no_worker_could_use_is_refused_before_a_job_starts(
    stage: str, model: str, options: dict[str, object], said: str, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, **{f"{stage}_model": model, f"{stage}_options": options})
    pretend_added(settings, model, "net.caffemodel")
    with pytest.raises(SettingsError, match=said):
        Runtime(settings).recipe()


def test_a_worker_needs_the_weights_of_its_own_stages_alone(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, pose_model="openpose-body25", mask_model="matterport")
    preload(Runtime(settings), (Stage.COMPARE,))  # on this machine there are none
    with pytest.raises(WeightsError, match="openpose-body25"):
        preload(Runtime(settings), (Stage.POSE,))
    with pytest.raises(WeightsError, match="matterport"):
        preload(Runtime(settings), (Stage.MASK,))
