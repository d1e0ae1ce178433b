"""The names of queues, and the stages that each serves."""

import re
from collections.abc import Sequence

from broker.recipe import CHAIN, Stage

EXPORT_QUEUE = "export"
"""Of orders for exports; it is no stage and has no place in a chain."""
DEVICE_QUEUE = Stage.ME.value
"""Shared by all devices that have none of their own."""
_OWN = re.compile(rf"{DEVICE_QUEUE}\.[a-z0-9][a-z0-9-]{{0,31}}")


def device_queue(name: str) -> str:
    """The queue of the device ``name`` alone: ``me.<name>``."""
    return f"{DEVICE_QUEUE}.{name}"


def stages_of_queue(queue: str) -> tuple[Stage, ...] | None:
    """The stages that a worker of ``queue`` runs; none for exports, None for a name that is no queue."""
    if queue == EXPORT_QUEUE:
        return ()
    if queue == Stage.DOWNLOAD:
        return (Stage.DOWNLOAD,)
    if _OWN.fullmatch(queue):
        return (Stage.ME,)
    runs = (CHAIN[start:end] for start in range(len(CHAIN)) for end in range(start + 1, len(CHAIN) + 1))
    return next((run for run in runs if "+".join(run) == queue), None)


def served_stages(queues: Sequence[str]) -> tuple[Stage, ...]:
    """The stages that a worker of ``queues`` runs, in their order; the queue of exports is none."""
    served = {stage for queue in queues for stage in stages_of_queue(queue) or ()}
    return tuple(stage for stage in Stage if stage in served)
