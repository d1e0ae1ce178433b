"""A worker whose machine lacks what its models run on takes no work: it ends at once, with the reason."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import fake_cuda
import pytest
from hardpose_process import environment, hardpose

from api.exit_codes import ExitCode
from broker.errors import MissingDependency, NotFound, SettingsError
from broker.recipe import CHAIN, Stage
from broker.settings import load_settings
from workers.errors import NoProvider
from workers.gpu import VISIBLE
from workers.machine import prepare_machine
from workers.onnx_runtime import installed_providers, require_providers

POSE, MASK = (Stage.POSE,), (Stage.MASK,)
needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)


def test_the_embedded_models_need_nothing_more():
    assert prepare_machine(load_settings(), CHAIN) == {}


@pytest.mark.parametrize(
    ("stages", "models"),
    [
        (POSE, {"pose_model": "openpose-body25"}),
        (MASK, {"mask_model": "matterport"}),
        (MASK, {"mask_model": "rfdetr-seg"}),
    ],
)
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_installed_is_refused_before_any_work(stages, models, provider):
    assert provider not in installed_providers()  # the tests' own ONNX Runtime is the CPU build
    settings = load_settings(compute={"providers": [provider]}, **models)
    with pytest.raises(NoProvider, match=f"{provider!r} was asked for.* has only cpu") as refused:
        prepare_machine(settings, stages)
    assert "onnx-gpu" in refused.value.remedy
    other = MASK if stages == POSE else POSE
    assert prepare_machine(settings, other) == {}  # a worker of another stage does not care


def test_providers_that_are_here_are_taken():
    require_providers(("cuda", "cpu"), ("cuda", "cpu"))
    settings = load_settings(compute={"providers": ["cpu"]}, pose_model="openpose-body25")
    assert prepare_machine(settings, POSE) == {}


@needs_tensorflow
def test_cuda_without_a_gpu_is_refused_on_tensorflow_too(tmp_path, monkeypatch):
    (tmp_path / "libcuda.so.1").write_text("no library")  # stands before a real driver, if there is one
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    settings = load_settings(
        compute={"providers": ["cuda"]}, mask_model="matterport", mask_options={"runtime": "tensorflow"}
    )
    with pytest.raises(NoProvider, match="no GPU is to be seen"):
        prepare_machine(settings, MASK)


@needs_tensorflow
def test_cuda_with_a_gpu_is_fine_on_tensorflow_unless_it_is_hidden(tmp_path, monkeypatch):
    if not sys.platform.startswith("linux") or not fake_cuda.can_build():
        pytest.skip("the stand-in for the CUDA driver needs Linux and gcc")
    monkeypatch.setenv("LD_LIBRARY_PATH", fake_cuda.build(tmp_path))
    monkeypatch.setenv("FAKE_CUDA_GPUS", "2")
    monkeypatch.delenv(VISIBLE, raising=False)
    given = {
        "compute": {"providers": ["cuda"]}, "mask_model": "matterport",
        "mask_options": {"runtime": "tensorflow"},
    }  # fmt: skip
    assert prepare_machine(load_settings(**given, gpu="1"), MASK)[VISIBLE] == "1"
    with pytest.raises(NoProvider, match="no GPU is to be seen"):
        prepare_machine(load_settings(**given, gpu="none"), MASK)
    monkeypatch.setenv(VISIBLE, "-1")
    with pytest.raises(NoProvider, match="no GPU is to be seen"):
        prepare_machine(load_settings(**given), MASK)


def test_wrong_names_and_options_are_named():
    with pytest.raises(NotFound, match="'nobody'"):
        prepare_machine(load_settings(pose_model="nobody"), POSE)
    with pytest.raises(SettingsError, match="no option 'colour'"):
        prepare_machine(load_settings(mask_model="matterport", mask_options={"colour": "red"}), MASK)


@pytest.mark.parametrize("package", ["onnxruntime", "tensorflow"])
def test_a_runtime_that_is_not_installed_is_named_with_its_extra(package, tmp_path):
    program = (
        "from importlib.machinery import PathFinder\n"
        "found = PathFinder.find_spec\n"
        "def without(name, path=None, target=None):\n"
        f"    return None if name.partition('.')[0] == {package!r} else found(name, path, target)\n"
        "PathFinder.find_spec = without\n"
        "from broker.settings import load_settings\n"
        "from broker.recipe import Stage\n"
        "from workers.machine import prepare_machine\n"
        f"prepare_machine(load_settings(mask_model='matterport', mask_options={{'runtime': {package!r}}}),"
        " [Stage.MASK])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=False
    )
    assert MissingDependency.__name__ in done.stderr
    assert f"The package {package}, on which the model matterport runs, is not installed" in done.stderr


@pytest.mark.system
@pytest.mark.parametrize("line", [["worker", "pose"], ["run", "clip.mp4"], ["up", "--flower-port", "0"]])
def test_the_commands_end_at_once_with_the_reason(line: list[str], tmp_path: Path):
    env = {
        "HARDPOSE_HOME": str(tmp_path / "home"),
        "HARDPOSE_MASK_MODEL": "blazepose",
        "HARDPOSE_COMPUTE__PROVIDERS": '["cuda"]',
        "HARDPOSE_POSE_MODEL": "openpose-body25",
        "HARDPOSE_BROKER_URL": "redis://127.0.0.1:1/0",
    }
    ended = hardpose(*line, env=env, timeout=240)
    assert ended.code == ExitCode.ENVIRONMENT, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ("no_provider: " if line[0] == "worker" else "weights: ") in ended.stderr
