"""Which processes share the GPUs of a machine: what each sees and may take, and what is refused."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import fake_cuda
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_models_package import install

from broker.errors import SettingsError
from broker.recipe import Stage
from broker.settings import Settings, load_settings
from workers.compute import Compute
from workers.errors import NoProvider
from workers.gpu import VISIBLE, describe_gpus, pin, showing
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
from workers.masks.matterport.keras_network import _device
from workers.onnx_runtime import provider_options

GIB = 1024**3
ALL = ("download", "pose", "mask", "me", "compare")
FULL = "GPU-0000000{}-0000-0000-0000-000000000000"
SLICE = "MIG-0000010{}-0000-0000-0000-000000000000"


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
        ({"gpu": "all"}, [Slot(FULL.format(n), f"gpu{n}") for n in (0, 1, 2)]),
        ({"gpu": f"2,{FULL.format(0)}"},
         [Slot(FULL.format(2), "gpu2"), Slot(FULL.format(0), "GPU-00000000")]),
        ({"gpu": "MIG-0,MIG-1"}, [Slot("MIG-0", "MIG-0"), Slot("MIG-1", "MIG-1")]),  # never seen together
        ({"gpu": "0,2", "gpu_memory": "24GiB"}, [Slot(FULL.format(n), f"gpu{n}", 24 * GIB) for n in (0, 2)]),
        ({"gpu": "1", "gpu_slots": 2},  # equal shares, less what no limit counts
         [Slot(FULL.format(1), f"gpu1-{n}", 12 * GIB - OUTSIDE_BYTES) for n in (1, 2)]),
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


@pytest.mark.parametrize("visible", [None, "0"])
def test_the_number_of_a_card_in_slices_stands_for_one_of_them(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, visible: str | None
) -> None:
    machine(1, slices=1)
    monkeypatch.setenv("FAKE_CUDA_MIG", "1")
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    (slot,) = plan_slots(asked(gpu="all"))
    assert slot.gpu == SLICE.format(0)


def test_a_gpu_that_falls_off_the_bus_leaves_the_others_to_their_processes(
    machine: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(3)
    monkeypatch.setenv("FAKE_CUDA_GONE", str(tmp_path / "gone"))
    slots = plan_slots(asked(gpu="all"))
    before = [describe_gpus(showing(slot.gpu)) for slot in slots]
    (tmp_path / "gone").write_text("1")  # the numbers of those behind it move up
    assert [describe_gpus(pin(slot.gpu)) for slot in (slots[0], slots[2])] == [before[0], before[2]]
    with pytest.raises(NoProvider, match="this machine has 2"):
        pin(slots[1].gpu)


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
    assert slots_of(settings, "pose", ALL) == [Slot(FULL.format(n), f"gpu{n}") for n in (0, 1)]
    assert slots_of(settings, "compare", ALL) == (NO_GPU,)  # on a machine that serves all, it stays one
    assert slots_of(load_settings(pose_model="nobody", gpu="1"), "compare", ALL) == (None,)


def test_queues_that_share_a_gpu_share_its_memory(
    machine: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = install(tmp_path / "stranger")
    monkeypatch.syspath_prepend(str(tmp_path / "stranger"))
    monkeypatch.setenv("ODD_NOTES", package["ODD_NOTES"])
    machine(1)
    given = {
        "pose_model": "nobody", "mask_model": "matterport", "compute": {"providers": ["cuda"]},
        "gpu": "0", "gpu_slots": 2,
    }  # fmt: skip
    for queue in ("pose", "mask"):
        slots = slots_of(load_settings(**given), queue, ALL)
        assert [slot and slot.memory for slot in slots] == [6 * GIB - OUTSIDE_BYTES] * 2
    with pytest.raises(NoProvider, match="4 x 8 GiB were asked for"):
        slots_of(load_settings(**given, gpu_memory="8GiB"), "pose", ALL)


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


@settings(max_examples=25)
@given(
    memory=st.integers(256 * 1024**2, 192 * GIB),
    models=st.sampled_from([("pose",), ("mask",), ("pose", "mask")]),
)
def test_models_of_one_process_never_take_more_than_it_may(memory: int, models: tuple[str, ...]) -> None:
    stages = tuple(map(Stage, models))
    shared = share_memory(asked(mask_model="matterport", gpu_memory=memory), stages)
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


class Told:
    """What stands where TensorFlow's configuration stands, and notes what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []
        self.threading = self.experimental = self

    def __getattr__(self, name: str) -> Callable[..., object]:
        return lambda *given, **named: self.said.append((name, *given, *named.values()))

    def list_physical_devices(self, kind: str) -> list[str]:
        return [f"{kind}:0"]

    def LogicalDeviceConfiguration(self, memory_limit: int) -> int:
        return memory_limit


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (8 * GIB, ("set_logical_device_configuration", "GPU:0", [8 * 1024])),  # in MiB
        (None, ("set_memory_growth", "GPU:0", True)),
    ],
)
def test_tensorflow_is_told_a_limit_or_to_grow(memory: int | None, said: tuple[object, ...]) -> None:
    """No GPU is here: of TensorFlow's own names a test of its runtime knows."""
    told = Told()
    assert _device(SimpleNamespace(config=told), Compute(memory=memory)) == "/GPU:0"
    assert [line for line in told.said if not str(line[0]).endswith("_threads")] == [said]
