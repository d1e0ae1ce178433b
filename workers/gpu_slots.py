"""Which processes share the GPUs of this machine: a slot is what one process sees and may take of one."""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from broker.errors import SettingsError
from broker.queues import stages_of_queue
from broker.recipe import Stage
from broker.settings import Settings
from workers.errors import NoProvider
from workers.gpu import (
    ALL,
    VISIBLE,
    Gpu,
    already_hidden,
    count_gpus,
    describe_gpus,
    in_gib,
    pin,
    require_memory,
)
from workers.machine import ON_GPU, WITH_MODEL, configured_runtime, installed_providers

OUTSIDE_BYTES = 512 * 1024**2
"""Left to each process for what no limit counts: CUDA's context, kernels, the handles of cuDNN and cuBLAS.
A guess on the safe side: some hundred MB are reported for the three together."""
LEAST_BYTES = 256 * 1024**2
"""A smaller share is of no use to any model that is known here."""
BY_BUS = "PCI_BUS_ID"
SHORT = 12
"""Characters of a UUID, its ``GPU-`` included, by which a worker is named: eight of its digits."""


@dataclass(frozen=True)
class Slot:
    """What one process has of a GPU.

    Attributes:
        gpu: the only one that it sees, as ``--gpu`` takes it.
        label: part of the worker's name, such as ``gpu0``, or ``gpu0-2`` for the second on one GPU.
        memory: most bytes that its models take; None: no limit.
    """

    gpu: str
    label: str
    memory: int | None = None


NO_GPU = Slot("none", "")


def spreads(settings: Settings) -> bool:
    """Whether a worker for a GPU is several processes."""
    several = settings.gpu is not None and (settings.gpu == ALL or "," in settings.gpu)
    return several or (settings.gpu_slots > 1 and settings.gpu != "none")


def plan_slots(settings: Settings) -> list[Slot]:
    """The slots that the settings ask for, all on the first GPU first.

    Raises:
        NoProvider: one of the GPUs is not here, or has not the memory.
        SettingsError: slots without a GPU, or one GPU twice.
    """
    if settings.gpu is None:
        raise SettingsError(
            f"{settings.gpu_slots} processes are to share a GPU, and none is named.",
            "Name it with --gpu: a number, a UUID or all.",
        )
    names = every_gpu() if settings.gpu == ALL else settings.gpu.split(",")
    # One MIG slice at most is seen by a process, so each is asked for alone.
    with ThreadPoolExecutor(8) as pool:
        gpus = list(pool.map(_only, names))
    _require_distinct(names, gpus)
    labels = _labels(names)
    memory = [_memory(settings, name, gpu) for name, gpu in zip(names, gpus, strict=True)]
    return [
        Slot(name, f"{label}-{number}" if settings.gpu_slots > 1 else label, share)
        for name, label, share in zip(names, labels, memory, strict=True)
        for number in range(1, settings.gpu_slots + 1)
    ]


def slots_of(settings: Settings, queue: str) -> Sequence[Slot | None]:
    """For a machine that serves all queues: one process of ``queue`` for each slot, or one without a GPU.

    None where the settings name one GPU or none: nothing is to be spread.

    Raises:
        NoProvider, SettingsError: see ``plan_slots`` and ``require_gpu_queues``.
    """
    if not spreads(settings):
        return (None,)
    if not gpu_queue(settings, queue):
        return (NO_GPU,)
    require_gpu_queues(settings, [queue])
    return plan_slots(settings)


def every_gpu() -> list[str]:
    """All GPUs that this process sees, as ``--gpu`` takes them.

    What a scheduler has hidden stays hidden. Its numbers may be in another order than ours, so then they are
    named by UUID. Of a card that is cut into MIG slices CUDA shows one at most: name slices one by one.

    Raises:
        NoProvider: there is none.
    """
    hidden = already_hidden()
    if not hidden:
        count = count_gpus({"CUDA_DEVICE_ORDER": BY_BUS})
        if count < 1:
            pin("0")  # says why
        return [str(number) for number in range(count)]
    seen = describe_gpus(hidden)
    if not seen:
        raise NoProvider(
            f"All GPUs were asked for, and {VISIBLE}={hidden[VISIBLE]} shows none.",
            "Set that variable right or unset it, or leave out --gpu and HARDPOSE_GPU.",
        )
    given = [entry.strip() for entry in hidden[VISIBLE].split(",")]
    return [
        entry if entry[:1].isalpha() else f"GPU-{gpu.uuid}" for entry, gpu in zip(given, seen, strict=False)
    ]


def gpu_queue(settings: Settings, queue: str) -> bool:
    """Whether a model of ``queue`` can use a GPU.

    Raises:
        NotFound, SettingsError: a configured model, or one of its options, cannot be used.
    """
    return any(_can_use(settings, stage) for stage in stages_of_queue(queue) or ())


def require_gpu_queues(settings: Settings, queues: Sequence[str]) -> None:
    """Lets only those queues onto the GPUs whose models compute there.

    Raises:
        SettingsError: one of ``queues`` has no use for a GPU, or one of its models cannot be held to a limit.
        NoProvider: the installed ONNX Runtime is the CPU build.
    """
    for queue in queues:
        if not gpu_queue(settings, queue):
            raise SettingsError(
                f"The queue {queue} has no use for a GPU: {_why(settings, queue)}.",
                f"Serve it beside, by one worker for the whole machine: hardpose worker {queue}.",
            )
        for stage in _with_model(stages_of_queue(queue) or ()):
            _check_runtime(settings, stage)


def share_memory(settings: Settings, stages: Collection[Stage]) -> Settings:
    """``settings`` for one process that serves ``stages``: each of its models on the GPU gets its part.

    ONNX Runtime keeps an arena for each network and holds each to the limit by itself.
    """
    models = sum(_can_use(settings, stage) for stage in _with_model(stages))
    if settings.gpu_memory is None or models < 2:
        return settings
    return settings.model_copy(update={"gpu_memory": settings.gpu_memory // models})


def _with_model(stages: Collection[Stage]) -> list[Stage]:
    return [stage for stage in WITH_MODEL if stage in stages]


def _can_use(settings: Settings, stage: Stage) -> bool:
    """A model that does not say what it runs on, of somebody else's package, is believed to."""
    if stage not in WITH_MODEL or "cpu" in settings.compute.providers[:1]:
        return False
    return configured_runtime(settings, stage)[1] != "litert"


def _why(settings: Settings, queue: str) -> str:
    models = [configured_runtime(settings, stage)[0] for stage in _with_model(stages_of_queue(queue) or ())]
    if models and "cpu" in settings.compute.providers[:1]:
        return "HARDPOSE_COMPUTE__PROVIDERS chooses the CPU"
    return f"its model {' and '.join(models)} computes on the CPU" if models else "it has no model for one"


def _check_runtime(settings: Settings, stage: Stage) -> None:
    name, runtime = configured_runtime(settings, stage)
    if (
        runtime == "onnxruntime"
        and not settings.compute.providers
        and not set(ON_GPU) & set(installed_providers())
    ):
        raise NoProvider(
            f"The model {name} is to run on a GPU, and the installed ONNX Runtime is the build for CPUs.",
            "Install the GPU build in an environment of its own: pip install 'hardpose[onnx-gpu]'.",
        )
    if runtime == "openpose" and (settings.gpu_memory is not None or settings.gpu_slots > 1):
        raise SettingsError(
            f"The model {name} cannot be held to a part of a GPU: OpenPose has no limit of memory.",
            "Leave out --slots and --gpu-memory: it gets a GPU of its own.",
        )


def _only(name: str) -> Gpu:
    return describe_gpus(pin(name))[0]


def _require_distinct(names: Sequence[str], gpus: Sequence[Gpu]) -> None:
    seen: dict[str, str] = {}
    for name, gpu in zip(names, gpus, strict=True):
        if gpu.uuid in seen:
            raise SettingsError(
                f"--gpu names one GPU twice: {seen[gpu.uuid]} and {name}.",
                "Name it once; --slots 2 puts two processes on it.",
            )
        seen[gpu.uuid] = name


def _labels(names: Sequence[str]) -> list[str]:
    short = [f"gpu{name}" if name.isdigit() else name[:SHORT].rstrip("-/") for name in names]
    return short if len(set(short)) == len(short) else [name.replace("/", "-") for name in names]


def _memory(settings: Settings, name: str, gpu: Gpu) -> int | None:
    """What one slot may take; without a word about it, an equal share."""
    if settings.gpu_memory is not None:
        require_memory(settings.gpu_memory, pin(name), settings.gpu_slots)
        return settings.gpu_memory
    if settings.gpu_slots == 1:
        return None
    share = gpu.memory // settings.gpu_slots - OUTSIDE_BYTES
    if share < LEAST_BYTES:
        raise NoProvider(
            f"The GPU {name} has {in_gib(gpu.memory)}, too little for {settings.gpu_slots} processes.",
            "Give fewer --slots.",
        )
    return share
