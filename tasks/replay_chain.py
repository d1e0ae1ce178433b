"""The way of a segment in a replay: from the teacher's stored result to the device and the comparison."""

from collections.abc import Sequence
from typing import Any

from celery import Celery, signature

from broker.errors import HardposeError
from broker.messages import Segment, SegmentResult
from broker.priority import Priority
from broker.recipe import Stage
from tasks.captions import segment_caption
from tasks.pipeline import joined, send_chains
from tasks.placement import Placement, queue_name
from tasks.readable import captioned
from tasks.runtime import Runtime

REPLAY = "replay"
"""Of the task ``hardpose.replay``; no queue: it runs where the books are kept."""
REPLAYED = (Stage.ME, Stage.COMPARE)


class MasksNotKept(HardposeError):
    """Of a segment there is no stored result of the teacher: a replay leaves it out."""

    code = "masks_not_kept"


def replay_chain(app: Celery, segment: Segment, placement: Placement, priority: int | None) -> Any:
    """The canvas of one segment: the reading of what is kept, then a task for each group that is left.

    A group that shares its process with pose or mask runs only its later stages, on its own queue.
    """
    shown = captioned(segment_caption(segment))
    options = {"app": app, "priority": priority, **shown}
    start = SegmentResult(segment=segment).model_dump(mode="json")
    tasks = [signature(f"hardpose.{REPLAY}", args=(start,), queue=placement.books_queue, **options)]
    for group in placement.groups:
        rest = tuple(stage for stage in group if stage in REPLAYED)
        if rest:
            queue = placement.queue_of(group, segment.recipe)
            tasks.append(signature(f"hardpose.{queue_name(rest)}", args=(), queue=queue, **options))
    return joined(app, tasks, segment, placement)


def send_replays(
    app: Celery, runtime: Runtime, segments: Sequence[Segment], priority: Priority = Priority.LOW
) -> None:
    """Sends one chain for each segment; messages of earlier sendings become void.

    Raises:
        BrokerUnavailable: some may have been sent; sending all anew is safe.
    """
    send_chains(app, runtime, segments, priority, replay_chain)
