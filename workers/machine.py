"""Whether this machine has what its configured models run on. Asked before a worker takes any work.

A worker that cannot load its model fails whatever it is given, and is faster at it than those that work.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Collection, Mapping

from broker.errors import MissingDependency
from broker.recipe import Stage
from broker.settings import Settings
from workers.compute import Compute
from workers.errors import NoProvider
from workers.gpu import already_hidden, count_gpus, pin, require_memory
from workers.models import MASKS, POSE, model_class
from workers.onnx_runtime import require_providers
from workers.options import with_options

RUNTIMES = {"onnxruntime": ("onnx", "onnx-gpu"), "tensorflow": ("tensorflow", "tensorflow-gpu")}
"""Package: the extras that bring it, without and with a GPU."""
WITH_MODEL = (Stage.POSE, Stage.MASK)
"""Stages whose models the settings name."""
ON_GPU = ("cuda", "tensorrt")
PROBE_SECONDS = 60.0
"""For ONNX Runtime to be imported."""


def prepare_machine(settings: Settings, stages: Collection[Stage]) -> dict[str, str]:
    """The variables that a worker for ``stages`` has to run with (see ``pin``).

    Raises:
        NoProvider: its GPU, or a provider that the settings name, is not here.
        MissingDependency: the runtime of a configured model is not installed.
        NotFound, SettingsError: a configured model or one of its options cannot be used.
    """
    variables = pin(settings.gpu)
    for stage in filter(WITH_MODEL.__contains__, stages):
        name, runtime = configured_runtime(settings, stage)
        if runtime in RUNTIMES:
            _check(runtime, name, Compute.of(settings, stage), variables)
    if settings.gpu_memory is not None and settings.gpu != "none":
        require_memory(settings.gpu_memory, {**already_hidden(), **variables})
    return variables


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def configured_runtime(settings: Settings, stage: Stage) -> tuple[str, str]:
    """The name of the model of ``stage``, one of ``WITH_MODEL``, and what it runs on; empty: it does not say.

    Raises:
        NotFound, SettingsError: it, or one of its options, cannot be used.
    """
    group, name, options = {
        Stage.POSE: (POSE, settings.pose_model, settings.pose_options),
        Stage.MASK: (MASKS, settings.mask_model, settings.mask_options),
    }[stage]
    spec = with_options(model_class(group, name).default_spec(), options)
    return name, str(getattr(model_class(group, name), "runtime", spec.options.get("runtime", "")))


def _check(runtime: str, model: str, compute: Compute, variables: Mapping[str, str]) -> None:
    if importlib.util.find_spec(runtime) is None:
        plain, with_gpu = RUNTIMES[runtime]
        raise MissingDependency(
            f"The package {runtime}, on which the model {model} runs, is not installed.",
            f"Install it with: pip install 'hardpose[{plain}]', or 'hardpose[{with_gpu}]' on a machine with "
            "a GPU.",
        )
    asked = [name for name in compute.providers if name in ON_GPU]
    if runtime == "onnxruntime" and compute.providers:
        require_providers(compute.providers, installed_providers())
    if asked and count_gpus({**already_hidden(), **variables}) < 1:
        raise NoProvider(
            f"The provider {asked[0]!r} was asked for, and no GPU is to be seen here.",
            "Look at nvidia-smi and HARDPOSE_GPU (in a container: give it the GPU), or set "
            "HARDPOSE_COMPUTE__PROVIDERS='[\"cpu\"]'.",
        )


def installed_providers() -> tuple[str, ...]:
    """Of the installed ONNX Runtime. A process of its own imports it: this one may have to fork."""
    line = [sys.executable, "-P", "-m", "workers.onnx_runtime"]
    try:
        done = subprocess.run(  # noqa: S603 - our own program, a list of arguments, no shell
            line, capture_output=True, text=True, check=True, timeout=PROBE_SECONDS
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        raise MissingDependency(
            f"ONNX Runtime cannot be imported ({error}; {str(error.stderr or '')[-300:]}).",
            "Install it anew: pip install --force-reinstall onnxruntime (or onnxruntime-gpu, never both).",
        ) from error
    return tuple(done.stdout.split())
