"""What ``hardpose doctor`` says of models, runtimes and the GPU."""

import sys
from pathlib import Path

import pytest
import stranger_package

from api import doctor_models
from api.doctor import diagnose
from api.doctor_models import model_findings, runtime_findings
from api.findings import Finding
from api.models_add import add_weights
from broker.errors import MissingDependency
from broker.settings import Settings, load_settings


def rows(found: list[Finding]) -> dict[str, Finding]:
    assert found
    return {finding.what: finding for finding in found}


def lacking() -> tuple[str, ...]:
    raise MissingDependency("The package onnxruntime cannot be imported.", "pip install 'hardpose[onnx]'")


def test_the_packages_of_this_environment_are_named_with_what_they_can_use(settings: Settings) -> None:
    found = rows(runtime_findings(settings))
    assert "cpu" in found["onnxruntime"].detail
    assert [found[name].mark for name in ("onnxruntime", "onnx", "h5py", "tensorflow")] == ["ok"] * 4


def test_what_is_absent_is_no_failure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_models, "_installed", lambda packages: {})
    found = runtime_findings(settings, lambda: False, lacking)
    assert {finding.mark for finding in found} == {"absent"}
    assert "hardpose[convert]" in rows(found)["onnx"].remedy
    assert "hardpose[tensorflow]" in rows(found)["tensorflow"].remedy


@pytest.mark.parametrize(
    ("gpu", "providers", "mark", "said"),
    [
        (True, ("cuda", "cpu"), "ok", "sees one"),  # as it should be
        (True, ("cpu",), "WARNING", "cannot use it"),  # the wrong build
        (False, ("cuda", "cpu"), "absent", "on the CPU"),  # the GPU's build, and no GPU
    ],
)
def test_a_gpu_that_cannot_be_used_is_a_warning(
    gpu: bool, providers: tuple[str, ...], mark: str, said: str, settings: Settings
) -> None:
    row = rows(runtime_findings(settings, lambda: gpu, lambda: providers))["GPU"]
    assert (row.mark, said in row.detail) == (mark, True)


def test_two_builds_of_one_module_are_a_warning(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_models, "_installed", lambda packages: dict.fromkeys(packages, "1.0"))
    row = rows(runtime_findings(settings, lambda: False, lambda: ("cpu",)))["onnxruntime"]
    assert row.mark == "WARNING"
    assert "pip uninstall onnxruntime onnxruntime-gpu" in row.remedy


def test_a_provider_that_was_asked_for_and_is_not_here_is_a_failure(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, compute={"providers": ("cuda", "cpu")})
    row = rows(runtime_findings(settings, lambda: False, lambda: ("cpu",)))["providers"]
    assert row.mark == "MISSING"
    assert row.detail.startswith("cuda: ")


def test_a_model_without_its_weights_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger_package.install(tmp_path / "package")
    monkeypatch.syspath_prepend(str(tmp_path / "package"))
    settings = load_settings(home=tmp_path, pose_model="tiny-pose", weights_dir=tmp_path / "weights")
    try:
        found = rows(diagnose(settings))
        assert found["model for pose"].mark == "MISSING"
        assert "hardpose models add tiny-pose" in found["model for pose"].remedy
        assert found["model for mask"].mark == "ok"  # fetched when needed
        assert "models" not in found
        given = tmp_path / "given.tiny"
        given.write_bytes(stranger_package.weights_bytes())
        add_weights(settings, "tiny-pose", str(given), True)
        found = rows(diagnose(settings))
        assert found["model for pose"].mark == "ok"
        assert found["models"].detail.startswith("1 of 4 weight files are here")
    finally:
        sys.modules.pop("tiny_models", None)


@pytest.mark.parametrize(
    ("changes", "what", "said"),
    [
        ({"pose_model": "blazeposs"}, "model for pose", "No model 'blazeposs'"),  # a typing error
        ({"mask_model": "litert"}, "model for mask", "not for mask"),  # a device is no teacher
    ],
)
def test_a_model_that_cannot_be_is_named(
    changes: dict[str, str], what: str, said: str, tmp_path: Path
) -> None:
    row = rows(list(model_findings(load_settings(home=tmp_path, **changes))))[what]
    assert row.mark == "MISSING"
    assert said in row.detail
    assert "blazepose" in row.remedy


def test_a_device_given_as_a_file_has_its_weights(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, device_model=str(tmp_path / "me.tflite"))
    assert set(rows(list(model_findings(settings)))) == {"model for pose", "model for mask"}
