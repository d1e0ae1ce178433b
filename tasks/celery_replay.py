"""The Celery task at the head of a replay: reads what the teacher has left, and hands it on to the device."""

import logging
from typing import Any

from celery import Task, shared_task

from broker.errors import Action, BrokerUnavailable, HardposeError
from broker.messages import Segment, SegmentResult
from broker.recipe import Stage
from tasks.backlog_gate import check_room
from tasks.inline_way import ready_to_send
from tasks.readable import Handed, ReadableTask
from tasks.replay_chain import REPLAY, MasksNotKept
from tasks.retrying import RETRIES, RETRY_SECONDS, again
from tasks.runtime import Runtime, process_runtime
from tasks.sending_on import send_on
from tasks.stored_results import stored_result
from tasks.voids import MessageVoid, check_start

log = logging.getLogger(__name__)
_ME = f"hardpose.{Stage.ME}"


@shared_task(
    name=f"hardpose.{REPLAY}",
    base=ReadableTask,
    bind=True,
    max_retries=RETRIES,
    default_retry_delay=RETRY_SECONDS,
    pydantic=True,
    pydantic_dump_kwargs={"mode": "json"},
)
def replay_segment(self: Task, result: SegmentResult) -> Handed | None:
    """Hands the stored result of the mask stage on to the device, unless the message is void."""
    here, segment = process_runtime(), result.segment
    try:
        check_start(here, segment)
        check_room(self, here, (), segment)
        handed = ready_to_send(self, here, _next(self, here, segment))
        send_on(self, handed)
    except MessageVoid as why:
        log.info("%s", why)
        self.request.chain = None
        return None
    except HardposeError as error:
        unsent = isinstance(error, BrokerUnavailable)
        if error.action == Action.TRANSIENT and (unsent or self.request.retries < RETRIES):
            raise again(self, error) from error
        raise
    return Handed(handed)


def _next(task: Task, here: Runtime, segment: Segment) -> SegmentResult:
    """What the next task is given. A device that has seen this stretch before is not asked again."""
    chain: list[Any] = task.request.chain or []
    if chain and chain[-1]["task"] == _ME:
        seen = stored_result(here, Stage.ME, segment)
        if seen is not None:
            chain.pop()
            return seen
    return kept_result(here, segment)


def kept_result(runtime: Runtime, segment: Segment) -> SegmentResult:
    """What the teacher has left of a segment, with every picture; without the seconds, which it took then.

    Raises:
        MasksNotKept: something of it is not in the artifact store any more.
    """
    kept = stored_result(runtime, Stage.MASK, segment)
    if kept is None or not all(runtime.artifacts.exists(keeper.frame_key) for keeper in kept.open):
        raise MasksNotKept(
            f"Frames or masks of segment {segment.index} of {segment.video.title} are gone from the "
            "artifact store.",
            f"`hardpose retry {segment.job_id}` makes them anew, from the video.",
        )
    return kept.model_copy(update={"seconds": {}})
