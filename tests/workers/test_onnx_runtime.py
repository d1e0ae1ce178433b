"""ONNX Runtime: what the wrapper tells of a network, and every way in which one cannot run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import memory_limit
import numpy as np
import pytest

from workers.compute import Compute
from workers.errors import ModelMismatch, NoProvider
from workers.onnx_runtime import OnnxModel, choose_providers

limited_memory = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS limits nothing elsewhere")
ALL = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
CPU = ["AzureExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return memory_limit.write_network(tmp_path_factory.mktemp("network") / "hungry.onnx")


def run_limited(network: Path, megabytes: int, size: int) -> tuple[dict[str, Any], str]:
    """What the program in ``memory_limit`` says, and what it logs."""
    line = [sys.executable, memory_limit.__file__, str(network), str(megabytes), str(size)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


# --- memory --------------------------------------------------------------------------------------


@limited_memory
def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same(network: Path) -> None:
    free, log = run_limited(network, 0, 16)
    assert (free["size"], len(free["peaks"])) == (16, memory_limit.IMAGES)
    assert "does not fit" not in log
    limited, log = run_limited(network, 400, 16)  # 16 images need 1,070 MB, 4 need 270
    assert limited["size"] == 4
    assert "hungry: a batch of 16 does not fit into memory, going on with 8" in log
    assert "hungry: a batch of 8 does not fit into memory, going on with 4" in log
    assert limited["peaks"] == free["peaks"]


@limited_memory
def test_an_image_that_does_not_fit_alone_has_a_remedy(network: Path) -> None:
    said, _ = run_limited(network, 20, 2)
    assert said["cause"].startswith("hungry.onnx ran out of memory:")
    assert "size 33554432" in said["cause"]
    assert "smaller network size" in said["remedy"]


# --- networks ------------------------------------------------------------------------------------


def test_it_tells_the_ports_and_runs(network: Path) -> None:
    model = OnnxModel(network, Compute())
    assert [str(port) for port in model.inputs.values()] == ["images ?x3x32x32 float"]
    assert [str(port) for port in model.outputs.values()] == ["peaks ?x32 float"]
    assert (model.on_gpu, model.providers) == (False, ("cpu",))
    (one,) = model.run({"images": np.stack(memory_limit.images()[:1])})
    (named,) = model.run({"images": np.stack(memory_limit.images()[:1])}, "peaks")
    assert one.shape == (1, memory_limit.CHANNELS)
    assert one.max() > 0
    assert np.array_equal(one, named)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.onnx", b""),
        ("text.onnx", b"version https://git-lfs.github.com/spec/v1\n" * 5),  # a pointer in place of the file
        ("noise.onnx", np.random.default_rng(0).bytes(5000)),
        ("missing.onnx", None),
    ],
)
def test_a_file_that_is_no_network_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelMismatch) as caught:
        OnnxModel(path, Compute())
    assert str(path) in caught.value.cause
    assert caught.value.remedy


def test_what_fails_at_start_is_not_tried_again_on_the_cpu(
    network: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime prints that it does, and a GPU that is full would look like one that is missing."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(network.read_bytes().replace(b"images", b"\xf2\xf2ages", 1))
    with pytest.raises(ModelMismatch):
        OnnxModel(broken, Compute())
    assert "Falling back" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_a_network_that_is_cut_off_is_refused(network: Path, tmp_path: Path, share: float) -> None:
    data = network.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelMismatch):
        OnnxModel(tmp_path / "cut.onnx", Compute())


@pytest.mark.parametrize(
    "feeds",
    [
        {"images": np.zeros((1, 3, 32, 31), np.float32)},  # a side
        {"images": np.zeros((3, 32, 32), np.float32)},  # the batch
        {"images": np.zeros((1, 3, 32, 32), np.uint8)},  # the type
        {"image": np.zeros((1, 3, 32, 32), np.float32)},  # the name
        {},
    ],
)
def test_a_wrong_input_is_no_crash(network: Path, feeds: dict[str, Any]) -> None:
    model = OnnxModel(network, Compute())
    with pytest.raises(ModelMismatch, match="hungry"):
        model.run(feeds)


# --- providers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_here_is_no_quiet_cpu(network: Path, provider: Any) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime is the GPU build")
    with pytest.raises(NoProvider, match=f"'{provider}' was asked for") as caught:
        OnnxModel(network, Compute(providers=(provider,)))
    assert "hardpose[onnx-gpu]" in caught.value.remedy
    assert "HARDPOSE_COMPUTE__PROVIDERS" in caught.value.remedy


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (("cuda",), ("cuda", "cpu")),  # the CPU is always last
        (("tensorrt", "cuda"), ("tensorrt", "cuda", "cpu")),
        (("cpu",), ("cpu",)),
        (("cuda", "cpu", "cuda"), ("cuda", "cpu")),
    ],
)
def test_what_is_asked_for_is_used(wanted: Any, chosen: tuple[str, ...]) -> None:
    assert choose_providers(Compute(providers=wanted), ALL) == chosen


def test_without_a_gpu_the_cpu_is_used() -> None:
    assert choose_providers(Compute(), CPU) == ("cpu",)
