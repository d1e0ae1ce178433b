"""Which GPU the processes of a worker see, decided before anything can start CUDA.

Run as ``python -m workers.gpu`` it prints how many GPUs it sees, and a line for each: a process that has
asked the driver can no longer fork one that computes, so that is asked in a process of its own.
"""

import ctypes
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workers.errors import NoProvider

PROBE_SECONDS = 60.0
"""For the driver to answer; without its daemon it takes some seconds for each GPU."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
NO_DRIVER = -1
CUDA_ERROR_NO_DEVICE = 100
"""CUDA driver API, ``CUresult``; also when ``CUDA_VISIBLE_DEVICES`` hides all."""
ALL = "all"


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a slice of one, as the driver describes it.

    Attributes:
        uuid: without the ``GPU-`` or ``MIG-`` in front of it.
        memory: of the whole card or slice, in bytes.
    """

    uuid: str
    memory: int


def pin(gpu: str | None) -> dict[str, str]:
    """The variables that show a process one GPU and no other.

    Args:
        gpu: its number as ``nvidia-smi`` counts, its UUID, that of a MIG slice, or "none" for no GPU at all;
            None leaves the environment as it is. "all" and several parted by commas stand for one or more,
            of which each process gets its own (``workers.gpu_slots``): nothing is pinned.

    Raises:
        NoProvider: it is not here.
    """
    if gpu is None:
        return {}
    if gpu == "none":
        return {VISIBLE: "-1"}
    if gpu == ALL or "," in gpu:
        return {}
    pinned = showing(gpu)
    if count_gpus(pinned) < 1:
        raise missing(gpu)
    return pinned


def showing(*gpus: str) -> dict[str, str]:
    """The variables that show a process these GPUs, or all, counted as ``nvidia-smi`` counts.

    CUDA's own order is by speed, that of nvidia-smi by bus (CUDA C++ Programming Guide, "CUDA Environment
    Variables").
    """
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} | ({VISIBLE: ",".join(gpus)} if gpus else {})


def count_gpus(variables: Mapping[str, str]) -> int:
    """How many GPUs a process with these variables sees, whatever this one sees; ``NO_DRIVER`` without one.

    Raises:
        NoProvider: the driver does not answer.
    """
    return int(_asked(variables)[0])


def describe_gpus(variables: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that a process with these variables sees, in the driver's order.

    Raises:
        NoProvider: the driver does not answer.
    """
    found = (line.split() for line in _asked(variables)[1:])
    return tuple(Gpu(uuid, int(memory)) for uuid, memory in found)


def already_hidden() -> dict[str, str]:
    """What shows this process only some of the machine's GPUs, as a cluster's scheduler does it."""
    return {VISIBLE: os.environ[VISIBLE]} if VISIBLE in os.environ else {}


def _asked(variables: Mapping[str, str]) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != VISIBLE}
    line = [sys.executable, "-P", "-m", "workers.gpu"]
    try:
        done = subprocess.run(  # noqa: S603 - our own program, a list of arguments, no shell
            line,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            check=True,
            timeout=PROBE_SECONDS,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        raise NoProvider(
            f"The NVIDIA driver does not answer ({error}; {str(error.stderr or '')[-300:]}).",
            "Run nvidia-smi; set HARDPOSE_GPU=none to work without it.",
        ) from error
    return done.stdout.splitlines()


def visible_gpus() -> int:
    """How many GPUs this process sees; ``NO_DRIVER`` without a driver. Starts CUDA's driver in this process.

    Raises:
        OSError: the driver gives an error.
    """
    driver = _driver()
    return NO_DRIVER if driver is None else _count(driver)


def _driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def _count(driver: ctypes.CDLL) -> int:
    count = ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code == CUDA_ERROR_NO_DEVICE:
        return 0
    if code:
        raise OSError(f"the CUDA driver gives the error {code}")
    return count.value


def _lines() -> Iterator[str]:
    driver = _driver()
    count = NO_DRIVER if driver is None else _count(driver)
    yield str(count)
    for number in range(count):
        gpu = _describe(driver, number)
        yield f"{gpu.uuid} {gpu.memory}"


def _describe(driver: ctypes.CDLL | None, number: int) -> Gpu:
    """By ``cuDeviceTotalMem`` and ``cuDeviceGetUuid`` (CUDA driver API, device management)."""
    assert driver is not None, "it has counted"
    device, memory, raw = ctypes.c_int(0), ctypes.c_size_t(0), (ctypes.c_ubyte * 16)()
    # The second version names a MIG slice and not the card that it is cut from; drivers before 11.4 lack it.
    get_uuid = getattr(driver, "cuDeviceGetUuid_v2", None) or driver.cuDeviceGetUuid
    code = (
        driver.cuDeviceGet(ctypes.byref(device), number)
        or driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        or get_uuid(raw, device)
    )
    if code:
        raise OSError(f"the CUDA driver gives the error {code}")
    return Gpu(str(uuid.UUID(bytes=bytes(raw))), memory.value)


def require_memory(wanted: int, variables: Mapping[str, str]) -> None:
    """Lets a process take ``wanted`` bytes of the GPU that it sees with these variables.

    Raises:
        NoProvider: there is no GPU, or not as much memory.
    """
    gpus = describe_gpus(variables)
    if not gpus:
        raise NoProvider(
            f"{in_gib(wanted)} of a GPU's memory were asked for, and no GPU is to be seen here.",
            "Leave out --gpu-memory and HARDPOSE_GPU_MEMORY, or name a GPU that `nvidia-smi -L` lists.",
        )
    for gpu in gpus:
        require_room(wanted, gpu)


def require_room(wanted: int, gpu: Gpu, processes: int = 1) -> None:
    """Lets so many ``processes`` take ``wanted`` bytes each of ``gpu``.

    Raises:
        NoProvider: it has not as much memory.
    """
    if processes * wanted > gpu.memory:
        of_all = f"{processes} x {in_gib(wanted)}" if processes > 1 else in_gib(wanted)
        raise NoProvider(
            f"{of_all} were asked for of the GPU {gpu.uuid}, which has {in_gib(gpu.memory)}.",
            "Give fewer --slots or a smaller --gpu-memory.",
        )


def in_gib(count: int) -> str:
    """``count`` bytes, to be read."""
    return f"{count / 1024**3:.3g} GiB"


def missing(gpu: str) -> NoProvider:
    """What is wrong when ``gpu`` was asked for and is not seen.

    Raises:
        NoProvider: the driver does not answer.
    """
    here = count_gpus({})
    if here == NO_DRIVER:
        return NoProvider(
            f"The GPU {gpu} was asked for, and no NVIDIA driver is here (libcuda.so.1 cannot be loaded).",
            "Install the driver (in a container: give it the GPU), or leave out --gpu and HARDPOSE_GPU.",
        )
    return NoProvider(
        f"The GPU {gpu} was asked for, and this machine has {here}{_numbers(here)}.",
        "Give --gpu a number or UUID that `nvidia-smi -L` lists, or none.",
    )


def _numbers(count: int) -> str:
    return f" (number{'s 0 to' if count > 1 else ''} {count - 1})" if count else ""


if __name__ == "__main__":
    sys.stdout.write("\n".join(_lines()))
