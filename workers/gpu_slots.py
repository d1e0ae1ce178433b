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
    describe_gpus,
    in_gib,
    missing,
    require_room,
    showing,
)
from workers.machine import ON_GPU, WITH_MODEL, configured_runtime, installed_providers

OUTSIDE_BYTES = 512 * 1024**2
"""Left to each process for what no limit counts: CUDA's context, kernels, the handles of cuDNN and cuBLAS.
A guess on the safe side: some hundred MB are reported for the three together."""
LEAST_BYTES = 256 * 1024**2
"""A smaller share is of no use to any model that is known here."""
SHORT = 12
"""Characters of a UUID, its ``GPU-`` included, by which a worker is named: eight of its digits."""


@dataclass(frozen=True)
class Slot:
    """What one process has of a GPU.

    Attributes:
        gpu: the only one that it sees, as ``--gpu`` takes it: a UUID where it has one. When a GPU falls off
            its bus, the numbers of those behind it move up.
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


def plan_slots(settings: Settings, sharing: int = 1) -> list[Slot]:
    """The slots that the settings ask for, all on the first GPU first.

    Args:
        settings: with the GPUs, the processes on each and their memory.
        sharing: queues that have as many slots each on the same GPUs.

    Raises:
        NoProvider: one of the GPUs is not here, or has not the memory.
        SettingsError: slots without a GPU, or one GPU twice.
    """
    if settings.gpu is None:
        raise SettingsError(
            f"{settings.gpu_slots} processes are to share a GPU, and none is named.",
            "Name it with --gpu: a number, a UUID or all.",
        )
    found = _every_gpu() if settings.gpu == ALL else _find(settings.gpu.split(","))
    _require_distinct(found)
    memory = [_memory(settings, name, gpu, sharing) for name, gpu in found]
    labels = _labels([name for name, _ in found])
    return [
        Slot(gpu, f"{label}-{number}" if settings.gpu_slots > 1 else label, share)
        for gpu, label, share in zip(_lasting(found), labels, memory, strict=True)
        for number in range(1, settings.gpu_slots + 1)
    ]


def slots_of(settings: Settings, queue: str, queues: Sequence[str]) -> Sequence[Slot | None]:
    """For a machine that serves several queues: one process of ``queue`` for each slot, or one without a GPU.

    None where the settings name one GPU or none: nothing is to be spread.

    Args:
        settings: see ``plan_slots``.
        queue: one of ``queues``.
        queues: that the machine serves: those that have a use for a GPU share each.

    Raises:
        NoProvider, SettingsError: see ``plan_slots`` and ``require_gpu_queues``.
    """
    if not spreads(settings):
        return (None,)
    if not gpu_queue(settings, queue):
        return (NO_GPU,)
    require_gpu_queues(settings, [queue])
    return plan_slots(settings, sum(gpu_queue(settings, name) for name in queues))


def _every_gpu() -> list[tuple[str, Gpu]]:
    """All GPUs that this process sees, with their names.

    What a scheduler has hidden stays hidden. Its numbers may be in another order than ours, so then they are
    named by UUID. Of a card that is cut into MIG slices CUDA shows one at most: name slices one by one.

    Raises:
        NoProvider: there is none.
    """
    hidden = already_hidden()
    seen = describe_gpus(hidden or showing())
    if not seen and hidden:
        raise NoProvider(
            f"All GPUs were asked for, and {VISIBLE}={hidden[VISIBLE]} shows none.",
            "Set that variable right or unset it, or leave out --gpu and HARDPOSE_GPU.",
        )
    if not seen:
        raise missing("0")
    if not hidden:
        return [(str(number), gpu) for number, gpu in enumerate(seen)]
    given = [entry.strip() for entry in hidden[VISIBLE].split(",")]
    by_uuid = _by_uuid(seen) or [f"GPU-{gpu.uuid}" for gpu in seen]
    return [
        (entry if entry[:1].isalpha() else uuid, gpu)
        for entry, uuid, gpu in zip(given, by_uuid, seen, strict=False)
    ]


def _find(names: Sequence[str]) -> list[tuple[str, Gpu]]:
    """The GPUs of these names.

    Raises:
        NoProvider: one is not here.
    """
    seen = describe_gpus(showing(*names))
    if len(seen) < len(names):
        # A process sees one MIG slice at most, and nothing behind a name that is wrong.
        with ThreadPoolExecutor(8) as pool:
            seen = tuple(pool.map(_only, names))
    return list(zip(names, seen, strict=True))


def _lasting(found: Sequence[tuple[str, Gpu]]) -> list[str]:
    """The names under which they are found as long as they are here."""
    numbered = [gpu for name, gpu in found if name.isdigit()]
    by_uuid = dict(zip(numbered, _by_uuid(numbered) or (), strict=False))
    return [by_uuid.get(gpu, name) if name.isdigit() else name for name, gpu in found]


def _by_uuid(gpus: Sequence[Gpu]) -> list[str] | None:
    """Their UUIDs as ``--gpu`` takes them; None where CUDA does not find all of them so.

    The number of a card that is cut into MIG slices stands for one of its slices.
    """
    for kind in ("GPU", "MIG"):
        names = [f"{kind}-{gpu.uuid}" for gpu in gpus]
        if names and describe_gpus(showing(*names)) == tuple(gpus):
            return names
    return None


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
    found = describe_gpus(showing(name))
    if not found:
        raise missing(name)
    return found[0]


def _require_distinct(found: Sequence[tuple[str, Gpu]]) -> None:
    seen: dict[str, str] = {}
    for name, gpu in found:
        if gpu.uuid in seen:
            raise SettingsError(
                f"--gpu names one GPU twice: {seen[gpu.uuid]} and {name}.",
                "Name it once; --slots 2 puts two processes on it.",
            )
        seen[gpu.uuid] = name


def _labels(names: Sequence[str]) -> list[str]:
    short = [f"gpu{name}" if name.isdigit() else name[:SHORT].rstrip("-/") for name in names]
    return short if len(set(short)) == len(short) else [name.replace("/", "-") for name in names]


def _memory(settings: Settings, name: str, gpu: Gpu, sharing: int) -> int | None:
    """What one slot may take; without a word about it, an equal share."""
    processes = settings.gpu_slots * sharing
    if settings.gpu_memory is not None:
        require_room(settings.gpu_memory, gpu, processes)
        return settings.gpu_memory
    if settings.gpu_slots == 1:
        return None
    share = gpu.memory // processes - OUTSIDE_BYTES
    if share < LEAST_BYTES:
        raise NoProvider(
            f"The GPU {name} has {in_gib(gpu.memory)}, too little for {processes} processes.",
            "Give fewer --slots.",
        )
    return share
