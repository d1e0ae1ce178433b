"""Which GPU the processes of a worker see, decided before anything can start CUDA.

Run as ``python -m workers.gpu`` it prints how many GPUs it sees: a process that has asked the driver can no
longer fork one that computes, so that is asked in a process of its own.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Mapping

from workers.errors import NoProvider

PROBE_SECONDS = 60.0
"""For the driver to answer; without its daemon it takes some seconds for each GPU."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
NO_DRIVER = -1
CUDA_ERROR_NO_DEVICE = 100
"""CUDA driver API, ``CUresult``; also when ``CUDA_VISIBLE_DEVICES`` hides all."""


def pin(gpu: str | None) -> dict[str, str]:
    """The variables that show a process one GPU and no other.

    Args:
        gpu: its number as ``nvidia-smi`` counts, its UUID, that of a MIG slice, or "none" for no GPU at all;
            None leaves the environment as it is.

    Raises:
        NoProvider: it is not here.
    """
    if gpu is None:
        return {}
    if gpu == "none":
        return {VISIBLE: "-1"}
    # CUDA's own order is by speed, that of nvidia-smi by bus (CUDA C++ Programming Guide, "CUDA Environment
    # Variables").
    pinned = {VISIBLE: gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    if count_gpus(pinned) < 1:
        raise _missing(gpu)
    return pinned


def count_gpus(variables: Mapping[str, str]) -> int:
    """How many GPUs a process with these variables sees, whatever this one sees; ``NO_DRIVER`` without one.

    Raises:
        NoProvider: the driver does not answer.
    """
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
    return int(done.stdout)


def visible_gpus() -> int:
    """How many GPUs this process sees; ``NO_DRIVER`` without a driver. Starts CUDA's driver in this process.

    Raises:
        OSError: the driver gives an error.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return NO_DRIVER
    count = ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code == CUDA_ERROR_NO_DEVICE:
        return 0
    if code:
        raise OSError(f"the CUDA driver gives the error {code}")
    return count.value


def _missing(gpu: str) -> NoProvider:
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
    sys.stdout.write(str(visible_gpus()))
