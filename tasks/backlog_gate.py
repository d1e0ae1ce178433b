"""Before a segment's first stage: whether its device has enough to do, and the segment is held instead."""

import logging
from typing import Any

from celery import Task

from broker.backlog import Backlog, bound_of
from broker.messages import Segment
from broker.priority import rank_of
from broker.queue_lengths import on_control, waiting_in
from broker.recipe import Stage
from tasks.placement import Group, Placement
from tasks.runtime import Runtime
from tasks.voids import MessageVoid

log = logging.getLogger(__name__)


class SegmentHeld(MessageVoid):
    """The segment waits for room in front of its device; this message of it ends here. Not a failure."""


def check_room(task: Task, runtime: Runtime, stages: Group, segment: Segment) -> None:
    """Lets a segment pass whose device has less to do than ``broker.backlog.bound_of`` says.

    Where there is no device ahead, or the bound is far, it costs one round trip at most.

    Raises:
        SegmentHeld: it has more; the segment's message is held.
        BrokerUnavailable: nobody can say.
    """
    ahead = queues_ahead(runtime.placement, stages, segment)
    if not ahead:
        return
    backlog, queue, settings = Backlog(runtime.control), ahead[-1], runtime.settings
    route = segment.recipe.device_model.route
    inline = route is not None and route.pixels == "inline"
    rank = rank_of(settings, (task.request.delivery_info or {}).get("priority"))
    room = backlog.room(queue, ahead if on_control(settings) else (), segment.key, rank)
    if not on_control(settings):
        waiting = waiting_in(settings, runtime.control, ahead)
        room = room.model_copy(update={"waiting": waiting})
    if room.lets_pass(bound_of(settings, inline)):
        if room.awake:
            backlog.passed(queue, segment.key, segment.ticket)
        return
    backlog.hold(
        queue,
        ahead,
        segment.key,
        message_of(task),
        ticket=segment.ticket,
        job_id=segment.job_id,
        rank=rank,
        inline=inline,
    )
    raise SegmentHeld(f"segment {segment.key} is held: {room.waiting} segments wait for {queue}")


def queues_ahead(placement: Placement, stages: Group, segment: Segment) -> tuple[str, ...]:
    """The queues from the first stage to the device, the device's last; none for any but the first group.

    ``stages`` is empty for the head of a replay, which has no stage before the device's.
    """
    if not stages:
        queue = next(
            placement.queue_of(group, segment.recipe) for group in placement.groups if Stage.ME in group
        )
        return () if queue == placement.books_queue else (queue,)  # there the replay itself waits
    if stages != placement.groups[0] or Stage.ME in stages:
        return ()
    device = next(at for at, group in enumerate(placement.groups) if Stage.ME in group)
    return tuple(placement.queue_of(group, segment.recipe) for group in placement.groups[1 : device + 1])


def message_of(task: Task) -> dict[str, Any]:
    """The signature of this task as it is, with the rest of its chain, its priority and its caption."""
    made: dict[str, Any] = dict(task.signature_from_request())
    return made
