"""A thin wrapper over ONNX Runtime; the only module that imports it."""

import logging
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from broker.errors import MissingDependency
from workers.compute import Compute
from workers.errors import ModelMismatch, NoProvider, OutOfMemory
from workers.gpu import visible_gpus

log = logging.getLogger(__name__)

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""Our names for ONNX Runtime's execution providers."""
MEMORY_WORDS = (
    "out of memory", "outofmemory", "failed to allocate memory", "could not be allocated", "bad_alloc",
    "bad allocation", "alloc_failed", "allocation_failed",
)  # fmt: skip
"""How CUDA, cuBLAS, cuDNN, TensorRT and the CPU's allocators say so; ONNX Runtime has no type for it."""


@dataclass(frozen=True)
class Port:
    """An input or an output. ``shape`` has None where the file leaves a side open."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        sides = "x".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} {sides} {self.dtype}"


class OnnxModel:
    """One ONNX network in memory.

    Args:
        path: of the ``.onnx`` file.
        compute: providers and threads.
        half: the file holds float16 arithmetic, so TensorRT may use it too.
        engines: folder in which TensorRT keeps what it compiled; without one it compiles at every start.

    Raises:
        MissingDependency: ONNX Runtime is not installed.
        NoProvider: a provider of ``compute`` is not here, or finds no GPU.
        ModelMismatch: the file is no ONNX network that this runtime can run.
        OutOfMemory: the network alone does not fit.
    """

    def __init__(self, path: Path, compute: Compute, half: bool = False, engines: Path | None = None) -> None:
        runtime = _runtime(f"runs {path.name}")
        chosen = choose_providers(compute, list(runtime.get_available_providers()))
        options = runtime.SessionOptions()
        options.intra_op_num_threads = compute.threads
        options.inter_op_num_threads = 1
        # Idle threads of ONNX Runtime spin by default and take a core from the decoder and the other stages.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        wanted = [(PROVIDERS[name], provider_options(name, half, engines, compute.memory)) for name in chosen]
        with _typed_errors(path):
            # Else what fails at start, for lack of memory say, is printed and tried again on the CPU.
            self._session = runtime.InferenceSession(
                str(path), options, providers=wanted, enable_fallback=False
            )
        _require(self._session.get_providers(), chosen)
        self.path = path
        self.providers = chosen
        self.inputs = {port.name: port for port in map(_port, self._session.get_inputs())}
        self.outputs = {port.name: port for port in map(_port, self._session.get_outputs())}

    @property
    def on_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return self.providers[0] != "cpu"

    def run(self, feeds: Mapping[str, NDArray[Any]], *wanted: str) -> list[NDArray[Any]]:
        """The ``wanted`` outputs (all, if none is named) for ``feeds``, by input name.

        Raises:
            OutOfMemory: it does not fit; a smaller batch may.
            ModelMismatch: an input has another shape or type than the network wants.
        """
        with _typed_errors(self.path):
            outputs: list[NDArray[Any]] = self._session.run(list(wanted) or None, dict(feeds))
        return outputs


def choose_providers(compute: Compute, available: list[str]) -> tuple[str, ...]:
    """The names (``cuda``, ``cpu`` ...) to use, the CPU always last: some operations run only there.

    Args:
        compute: what is asked for.
        available: what the installed ONNX Runtime was built with, in its own words.

    Raises:
        NoProvider: one that was asked for is not among them.
    """
    here = tuple(name for name, long in PROVIDERS.items() if long in available)
    if not compute.providers:
        return ("cuda", "cpu") if "cuda" in here and sees_gpu() else ("cpu",)
    require_providers(compute.providers, here)
    return tuple(dict.fromkeys((*compute.providers, "cpu")))


def require_providers(asked: Iterable[str], here: Collection[str]) -> None:
    """Refuses a provider that was asked for and is not among those ``here``, in our names.

    Raises:
        NoProvider: names it and what is there.
    """
    for name in asked:
        if name not in here:
            raise NoProvider(
                f"The provider {name!r} was asked for, and the installed ONNX Runtime has only "
                f"{', '.join(sorted(here))}.",
                "Install the GPU build in an environment of its own: pip install 'hardpose[onnx-gpu]', "
                "or set HARDPOSE_COMPUTE__PROVIDERS='[\"cpu\"]'.",
            )


def sees_gpu() -> bool:
    """Whether this process has an NVIDIA device that ``CUDA_VISIBLE_DEVICES`` does not hide."""
    try:
        return visible_gpus() > 0
    except OSError as error:
        log.warning("no GPU is used: %s", error)
        return False


def installed_providers() -> tuple[str, ...]:
    """The providers that the installed ONNX Runtime was built with, in our names, best first.

    Raises:
        MissingDependency: ONNX Runtime is not installed.
    """
    available = _runtime("runs converted networks").get_available_providers()
    return tuple(name for name, long in PROVIDERS.items() if long in available)


def _runtime(purpose: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            f"The package onnxruntime, which {purpose}, cannot be imported: {error}.",
            "Install it with: pip install 'hardpose[onnx]', or 'hardpose[onnx-gpu]' on a machine with a GPU.",
        ) from error
    if (
        hasattr(onnxruntime, "preload_dlls")
        and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    ):
        # The CUDA libraries that pip installed are not on the loader's path.
        onnxruntime.preload_dlls()
    return onnxruntime


def provider_options(
    name: str, half: bool = False, engines: Path | None = None, memory: int | None = None
) -> dict[str, str]:
    """The options of a provider, in ONNX Runtime's words ("CUDA" and "TensorRT Execution Provider").

    Args:
        name: of the provider, ours.
        half: TensorRT may use float16.
        engines: folder of TensorRT's compiled networks.
        memory: bytes of the GPU's that it may take. TensorRT holds to it while it compiles; what its engines
            take is theirs to say.
    """
    if name == "cuda":
        # An exhaustive search of convolution algorithms for each new shape costs more than it brings here.
        options = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
        return options | ({"gpu_mem_limit": str(memory)} if memory is not None else {})
    if name == "tensorrt":
        options = {"trt_fp16_enable": str(half)}
        if memory is not None:
            options["trt_max_workspace_size"] = str(memory)
        if engines is not None:
            options |= {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(engines)}
        return options
    return {}


def _require(active: list[str], chosen: tuple[str, ...]) -> None:
    for name in chosen:
        if PROVIDERS[name] not in active:
            raise NoProvider(
                f"The provider {name!r} was asked for and could not start on this machine.",
                "Look at the log above for its reason (driver, CUDA or cuDNN libraries, a GPU that "
                "HARDPOSE_GPU hides), or set HARDPOSE_COMPUTE__PROVIDERS='[\"cpu\"]'.",
            )


@contextmanager
def _typed_errors(path: Path) -> Iterator[None]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    known = (
        state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile,
        state.NotImplemented, state.RuntimeException, state.EPFail, RuntimeError, ValueError,
    )  # fmt: skip
    try:
        yield
    except MemoryError as error:
        raise _out_of_memory(path, "the process may not allocate more") from error
    except known as error:
        words = " ".join(str(error).split())
        if any(sign in words.lower() for sign in MEMORY_WORDS):
            # The size that was asked for stands at the end, after the name of a source file.
            raise _out_of_memory(path, words[-200:]) from error
        raise ModelMismatch(
            f"{path} cannot be run: {words[:500].rstrip('.')}.",
            "Give an ONNX file of the network that the model's description names, or add it anew with "
            "`hardpose models add`.",
        ) from error


def _out_of_memory(path: Path, why: str) -> OutOfMemory:
    return OutOfMemory(
        f"{path.name} ran out of memory: {why.rstrip('.')}.",
        "Give the process a GPU with more free memory (HARDPOSE_GPU), a smaller network size or precision "
        "fp16 in the model's options.",
    )


def _port(given: Any) -> Port:
    shape = tuple(side if isinstance(side, int) else None for side in given.shape)
    return Port(given.name, shape, given.type.removeprefix("tensor(").removesuffix(")"))


def as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """``values`` as float32, without a copy where they are that already."""
    return values.astype(np.float32, copy=False)


if __name__ == "__main__":
    sys.stdout.write(" ".join(installed_providers()))
