"""One GPU for a worker: the variables, and what is refused."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fake_cuda
import pytest
from hardpose_process import hardpose

from api.exit_codes import ExitCode
from broker.embedded import EmbeddedBroker
from broker.errors import SettingsError
from broker.settings import load_settings
from workers.errors import NoProvider
from workers.gpu import NO_DRIVER, VISIBLE, count_gpus, pin

BY_BUS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not sys.platform.startswith("linux") or not fake_cuda.can_build():
        pytest.skip("the stand-in for the CUDA driver needs Linux and gcc")
    return fake_cuda.build(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def two_gpus(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", driver)
    monkeypatch.setenv("FAKE_CUDA_GPUS", "2")
    monkeypatch.delenv(VISIBLE, raising=False)


@pytest.fixture
def no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that cannot be loaded stands before the real one, if there is a real one."""
    (tmp_path / "libcuda.so.1").write_text("no library")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))


# --- what is pinned ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu", "variables"),
    [
        (None, {}),  # as the environment says
        ("none", {VISIBLE: "-1"}),
        ("0", {VISIBLE: "0", **BY_BUS}),
        ("1", {VISIBLE: "1", **BY_BUS}),
        ("GPU-1", {VISIBLE: "GPU-1", **BY_BUS}),
    ],
)
def test_the_variables(two_gpus: None, gpu: str | None, variables: dict[str, str]) -> None:
    assert pin(gpu) == variables


def test_what_hides_gpus_from_us_does_not_hide_the_one_that_is_asked_for(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, "0")
    assert pin("1")[VISIBLE] == "1"


@pytest.mark.parametrize(
    ("count", "gpu", "words"),
    [
        ("2", "2", "The GPU 2 was asked for, and this machine has 2 (numbers 0 to 1)."),
        ("1", "1", "The GPU 1 was asked for, and this machine has 1 (number 0)."),
        ("0", "0", "The GPU 0 was asked for, and this machine has 0."),
        ("2", "GPU-7", "The GPU GPU-7 was asked for, and this machine has 2 (numbers 0 to 1)."),
        ("2", "MIG-1", "The GPU MIG-1 was asked for, and this machine has 2 (numbers 0 to 1)."),
    ],
)
def test_a_gpu_that_is_not_here(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch, count: str, gpu: str, words: str
) -> None:
    monkeypatch.setenv("FAKE_CUDA_GPUS", count)
    with pytest.raises(NoProvider) as caught:
        pin(gpu)
    assert caught.value.cause == words
    assert "nvidia-smi -L" in caught.value.remedy


def test_without_a_driver_only_none_is_possible(no_driver: None) -> None:
    assert count_gpus({}) == NO_DRIVER
    assert pin("none") == {VISIBLE: "-1"}
    with pytest.raises(NoProvider, match="no NVIDIA driver is here"):
        pin("0")


def test_a_driver_that_fails_is_no_missing_gpu(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CUDA_ERROR", "803")  # CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
    with pytest.raises(NoProvider, match="the CUDA driver gives the error 803") as caught:
        pin("0")
    assert "nvidia-smi" in caught.value.remedy


@pytest.mark.parametrize("gpu", ["-1", "0,", "gpu0", "", "ALL", "all,0", "GPU-0;x", "0\n", "0, 1"])
def test_what_names_no_gpu_is_refused_as_a_setting(gpu: str) -> None:
    with pytest.raises(SettingsError, match="HARDPOSE_GPU"):
        load_settings(gpu=gpu)


@pytest.mark.parametrize(("visible", "sees"), [("1", True), ("-1", False), ("7", False)])
def test_onnx_runtime_asks_for_cuda_only_where_a_gpu_is_seen(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch, visible: str, sees: bool
) -> None:
    monkeypatch.setenv(VISIBLE, visible)
    code = (
        "import json, workers.onnx_runtime as o, workers.compute as c;"
        "here = ['CUDAExecutionProvider', 'CPUExecutionProvider'];"
        "print(json.dumps(o.choose_providers(c.Compute(), here)))"
    )
    # In a process of its own: the path of libraries is read when a process starts.
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=240)
    assert json.loads(done.stdout) == (["cuda", "cpu"] if sees else ["cpu"])


# --- real workers --------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "given") as running:
        yield running


@pytest.mark.system
def test_a_worker_whose_gpu_is_not_here_does_not_start(two_gpus: None, broker: EmbeddedBroker) -> None:
    env = {"HARDPOSE_BROKER_URL": broker.url}
    ended = hardpose("worker", "pose", "--gpu", "5", env=env, timeout=240)
    assert ended.code == ExitCode.ENVIRONMENT
    assert "no_provider: The GPU 5 was asked for, and this machine has 2 (numbers 0 to 1)." in ended.stderr


@pytest.mark.system
def test_a_worker_refuses_a_gpu_without_a_driver(no_driver: None, broker: EmbeddedBroker) -> None:
    env = {"HARDPOSE_BROKER_URL": broker.url, "HARDPOSE_GPU": "0"}
    ended = hardpose("worker", "pose", env=env, timeout=240)
    assert ended.code == ExitCode.ENVIRONMENT
    assert "no NVIDIA driver is here" in ended.stderr
