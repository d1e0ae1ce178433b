"""Which processes share the GPUs of a machine: what each sees and may take, and what is refused."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fake_cuda
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_models_package import install

from broker.errors import SettingsError
from broker.recipe import Stage
from broker.settings import Settings, load_settings
from workers.compute import Compute
from workers.errors import NoProvider
from workers.gpu import VISIBLE, pin
from workers.gpu_slots import (
    NO_GPU,
    OUTSIDE_BYTES,
    Slot,
    gpu_queue,
    plan_slots,
    require_gpu_queues,
    share_memory,
    slots_of,
    spreads,
)
from workers.machine import prepare_machine
from workers.onnx_runtime import provider_options

GIB = 1024**3
FULL = "GPU-0000000{}-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not sys.platform.startswith("linux") or not fake_cuda.can_build():
        pytest.skip("the stand-in for the CUDA driver needs Linux and gcc")
    return fake_cuda.build(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def machine(driver: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine of so many GPUs of 24 GiB."""

    def has(gpus: int, slices: int = 0) -> None:
        monkeypatch.setenv("LD_LIBRARY_PATH", driver)
        monkeypatch.setenv("FAKE_CUDA_GPUS", str(gpus))
        monkeypatch.setenv("FAKE_CUDA_SLICES", str(slices))
        monkeypatch.setenv("FAKE_CUDA_GIB", "24")
        monkeypatch.delenv(VISIBLE, raising=False)

    return has


def asked(**given: object) -> Settings:
    return load_settings(pose_model="openpose-body25", **given)


# --- which ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "slots"),
    [
        ({"gpu": "all"}, [Slot("0", "gpu0"), Slot("1", "gpu1"), Slot("2", "gpu2")]),
        ({"gpu": "0,2"}, [Slot("0", "gpu0"), Slot("2", "gpu2")]),
        ({"gpu": f"2,{FULL.format(0)}"}, [Slot("2", "gpu2"), Slot(FULL.format(0), "GPU-00000000")]),
        ({"gpu": "MIG-0,MIG-1"}, [Slot("MIG-0", "MIG-0"), Slot("MIG-1", "MIG-1")]),  # never seen together
        ({"gpu": "0", "gpu_slots": 2, "gpu_memory": "8GiB"},
         [Slot("0", "gpu0-1", 8 * GIB), Slot("0", "gpu0-2", 8 * GIB)]),
        ({"gpu": "0,1", "gpu_memory": "24GiB"}, [Slot("0", "gpu0", 24 * GIB), Slot("1", "gpu1", 24 * GIB)]),
        ({"gpu": "1", "gpu_slots": 2},  # equal shares, less what no limit counts
         [Slot("1", f"gpu1-{n}", 12 * GIB - OUTSIDE_BYTES) for n in (1, 2)]),
    ],
)  # fmt: skip
def test_the_slots(machine: Callable[..., None], given: dict[str, object], slots: list[Slot]) -> None:
    machine(3, slices=2)
    settings = asked(**given)
    assert spreads(settings)
    assert plan_slots(settings) == slots


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        ("2", [FULL.format(0)]),  # the driver's own order is another than that of the bus
        (f"{FULL.format(1)},0", [FULL.format(1), FULL.format(2)]),
        ("MIG-1", ["MIG-1"]),
    ],
)
def test_all_is_what_a_scheduler_has_left_to_us(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, visible: str, gpus: list[str]
) -> None:
    machine(3, slices=2)
    monkeypatch.setenv(VISIBLE, visible)
    slots = plan_slots(asked(gpu="all"))
    assert [slot.gpu for slot in slots] == gpus
    assert [pin(slot.gpu)[VISIBLE] for slot in slots] == gpus


@pytest.mark.parametrize(
    ("gpus", "given", "error", "words"),
    [
        (2, {"gpu": "0,5"}, NoProvider, "The GPU 5 was asked for, and this machine has 2"),
        (0, {"gpu": "all"}, NoProvider, "this machine has 0"),
        (2, {"gpu": "0,0"}, SettingsError, "one GPU twice: 0 and 0"),
        (2, {"gpu": f"1,{FULL.format(1)}"}, SettingsError, "one GPU twice: 1 and GPU-00000001"),
        (1, {"gpu": "0", "gpu_slots": 3, "gpu_memory": "8.1GiB"}, NoProvider, "3 x 8.1 GiB were asked"),
        (1, {"gpu": "0", "gpu_slots": 40}, NoProvider, "too little for 40 processes"),
        (1, {"gpu_slots": 2}, SettingsError, "none is named"),
    ],
)  # fmt: skip
def test_what_is_not_here_is_refused(
    machine: Callable[..., None], gpus: int, given: dict[str, object], error: type[Exception], words: str
) -> None:
    machine(gpus)
    with pytest.raises(error, match=words):
        plan_slots(asked(**given))


def test_all_without_a_driver_or_with_none_shown(
    machine: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(2)
    monkeypatch.setenv(VISIBLE, "-1")
    with pytest.raises(NoProvider, match="CUDA_VISIBLE_DEVICES=-1 shows none"):
        plan_slots(asked(gpu="all"))
    monkeypatch.delenv(VISIBLE)
    (tmp_path / "libcuda.so.1").write_text("no library")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(NoProvider, match="no NVIDIA driver is here"):
        plan_slots(asked(gpu="all"))


def test_one_gpu_or_none_is_one_process() -> None:
    assert not any(map(spreads, (asked(), asked(gpu="0"), asked(gpu="none", gpu_slots=2))))


# --- for whom ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "given", "uses"),
    [
        ("pose", {}, True),
        ("pose", {"pose_model": "blazepose"}, False),
        ("pose", {"compute": {"providers": ["cpu"]}}, False),
        ("mask", {"mask_model": "matterport"}, True),
        ("mask", {}, False),  # the embedded teacher
        ("pose+mask", {}, True),
        ("mask+me+compare", {}, False),
        *((queue, {"mask_model": "matterport"}, False) for queue in ("download", "me", "compare", "export")),
    ],
)
def test_queues_with_a_use_for_a_gpu(queue: str, given: dict[str, object], uses: bool) -> None:
    settings = load_settings(**{"pose_model": "openpose-body25", **given})
    assert gpu_queue(settings, queue) == uses
    if not uses:
        with pytest.raises(SettingsError, match=f"The queue {queue.replace('+', '.')} has no use for a GPU"):
            require_gpu_queues(settings, [queue])


def test_a_strangers_model_is_believed_to_use_one(
    machine: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = install(tmp_path / "stranger")
    monkeypatch.syspath_prepend(str(tmp_path / "stranger"))
    monkeypatch.setenv("ODD_NOTES", package["ODD_NOTES"])
    require_gpu_queues(load_settings(pose_model="nobody"), ["pose"])
    machine(2)
    settings = load_settings(pose_model="nobody", gpu="all")
    assert slots_of(settings, "pose") == [Slot("0", "gpu0"), Slot("1", "gpu1")]
    assert slots_of(settings, "compare") == (NO_GPU,)  # on a machine that serves all, it stays one
    assert slots_of(load_settings(pose_model="nobody", gpu="1"), "compare") == (None,)


def test_a_build_for_cpus_is_refused() -> None:
    with pytest.raises(NoProvider, match="the installed ONNX Runtime is the build for CPUs"):
        require_gpu_queues(asked(), ["pose"])


def test_openpose_has_no_limit() -> None:
    given = {"pose_model": "pyopenpose"}
    require_gpu_queues(load_settings(**given), ["pose"])
    for more in ({"gpu_slots": 2}, {"gpu_memory": "8GiB"}):
        with pytest.raises(SettingsError, match="cannot be held to a part of a GPU"):
            require_gpu_queues(load_settings(**given, **more), ["pose"])


# --- how much ------------------------------------------------------------------------------------


@given(
    memory=st.integers(256 * 1024**2, 192 * GIB),
    models=st.sampled_from([("pose",), ("mask",), ("pose", "mask")]),
)
def test_models_of_one_process_never_take_more_than_it_may(memory: int, models: tuple[str, ...]) -> None:
    settings = asked(mask_model="matterport", gpu_memory=memory)
    stages = tuple(map(Stage, models))
    shared = share_memory(settings, stages)
    limits = [Compute.of(shared, stage).memory for stage in stages]
    assert None not in limits
    assert memory - len(limits) < sum(filter(None, limits)) <= memory


def test_a_limit_reaches_the_runtime(machine: Callable[..., None]) -> None:
    settings = asked(gpu_memory="8GiB")
    limit = Compute.of(settings, Stage.POSE).memory
    assert provider_options("cuda", memory=limit)["gpu_mem_limit"] == str(8 * GIB)
    assert provider_options("tensorrt", memory=limit)["trt_max_workspace_size"] == str(8 * GIB)
    assert "gpu_mem_limit" not in provider_options("cuda")
    assert settings.environment()["HARDPOSE_GPU_MEMORY"] == str(8 * GIB)  # as the processes of a pool read it
    machine(1)
    assert prepare_machine(load_settings(gpu="0", gpu_memory="24GiB"), [Stage.POSE])[VISIBLE] == "0"
    with pytest.raises(NoProvider, match=r"25 GiB were asked for of the GPU .*, which has 24 GiB"):
        prepare_machine(load_settings(gpu="0", gpu_memory="25GiB"), [Stage.POSE])
    machine(0)
    with pytest.raises(NoProvider, match="8 GiB of a GPU's memory were asked for, and no GPU"):
        prepare_machine(settings, [Stage.COMPARE])


def test_a_limit_is_taken_by_tensorflow() -> None:
    """Its own words for a limit; on a CPU, the only kind of device that is here, it knows of none."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    code = (
        "import tensorflow as tf\n"
        "limit = tf.config.LogicalDeviceConfiguration(memory_limit=8192)\n"
        "assert limit.memory_limit == 8192\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "try:\n"
        "    tf.config.set_logical_device_configuration(cpu, [limit])\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "memory" in done.stdout
