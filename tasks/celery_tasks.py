"""The Celery tasks: thin shells around the stages. Every group of stages that can share a process is a task.

Results are not stored: state lives in the catalog. A task may run twice; all it writes is keyed by content.
"""

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Task, current_app, shared_task
from celery.exceptions import Reject, Retry
from celery.signals import celeryd_init, worker_process_init, worker_ready, worker_shutdown

from broker.errors import Action, BrokerUnavailable, HardposeError
from broker.messages import Failure, Segment, SegmentResult
from broker.presence import worker_key
from broker.presence_beat import PresenceBeat
from broker.recipe import Stage
from broker.settings import load_settings
from tasks.attempts import attempt_of_segment, counted
from tasks.backlog_gate import check_room
from tasks.captions import failure_caption, segment_caption
from tasks.celery_download import download_link
from tasks.celery_export import export
from tasks.celery_repair import repair
from tasks.celery_replay import replay_segment
from tasks.counting import segment_ended, segment_raised
from tasks.failures import describe_failure
from tasks.fitness import begin_to_load, has_come, leave_to_others, process_fitness
from tasks.frame_facts import facts_by_time
from tasks.inline_way import ready_to_send
from tasks.pipeline import run_stages
from tasks.placement import Group, all_groups, queue_name
from tasks.readable import Handed, ReadableTask, captioned
from tasks.repair_pump import RepairPump
from tasks.replay_chain import REPLAY
from tasks.retrying import (
    BOOKS_RETRY_SECONDS,
    RETRIES,
    RETRY_SECONDS,
    again,
    put_back,
    retry_later,
    told_in_a_line,
)
from tasks.runtime import Runtime, process_runtime
from tasks.sending_on import check_not_done, failed, note_done, send_on
from tasks.suspect_frames import MOST_CONDEMNED, suspects_of
from tasks.unit_news import process_news
from tasks.voids import MessageVoid, check_start, check_wanted, unless_void
from tasks.worker_card import announce_until_heard, load_and_describe
from workers.devices.errors import DeviceAway

log = logging.getLogger(__name__)


def run_group(task: Task, stages: Group, result: SegmentResult) -> SegmentResult | None:
    """Runs a group of stages on a segment, unless its message is void.

    Returns ``None`` when the segment was sent anew, cancelled or erased since, or is held for its device; the
    chain then ends here.
    """
    here, segment = process_runtime(), result.segment
    name = attempt_of_segment(segment, queue_name(stages))
    try:
        check_start(here, segment, stages)
        check_not_done(task, here.control, name)
        check_room(task, here, stages, segment)
        with _counted(here, segment, stages):
            with unless_void(here, segment, stages):
                result = run_stages(here, stages, result, lambda: check_wanted(here, segment))
                result = ready_to_send(task, here, result)
            if Stage.COMPARE in stages:
                with unless_void(here, segment):
                    here.catalog.settle_segment(result, facts_by_time(result))
        process_fitness().fit(here)
        if Stage.ME in stages:
            process_news().answers()
        _advance(here, segment, stages)
        send_on(task, result)
        note_done(here.control, name)
    except MessageVoid as why:
        log.info("%s", why)
        task.request.chain = None
        return None
    except DeviceAway as error:
        process_news().is_away()
        raise put_back(error) from error
    except Exception as error:
        answer = _answer(task, here, stages, segment, error)
        if answer is error:
            raise
        raise answer from error
    return result


def _answer(task: Task, here: Runtime, stages: Group, segment: Segment, error: Exception) -> BaseException:
    """What to raise for ``error``."""
    try:
        left = leave_to_others(task, here, stages, segment, error)
    except BrokerUnavailable as away:
        return again(task, away)
    if left is not None or not isinstance(error, HardposeError):
        return left or error
    unsent = isinstance(error, BrokerUnavailable)
    if error.action == Action.TRANSIENT and (unsent or task.request.retries < RETRIES):
        return again(task, error)
    return error


@contextmanager
def _counted(here: Runtime, segment: Segment, stages: Group) -> Iterator[None]:
    """Counts this start; those that a known frame has ended are excused."""
    name = attempt_of_segment(segment, queue_name(stages))
    suspected = here.control if Stage.ME in stages else None
    most, what = here.settings.max_attempts, _what(segment, stages)
    with suspects_of(suspected, name) as suspects, counted(here.control, name, most, what, suspects.resume):
        yield


def _what(segment: Segment, stages: Group) -> str:
    return f"Segment {segment.index} of {segment.video.title} in {queue_name(stages)}"


def _advance(here: Runtime, segment: Segment, stages: Group) -> None:
    """Tells the progress bars. The work is done and settled: a bar is no reason to fail it."""
    try:
        for stage in stages:
            here.control.advance(segment, stage)
    except BrokerUnavailable as error:
        log.warning("progress of segment %s is not shown: %s", segment.key, error)


def _register_group(group: Group) -> Any:
    """The Celery task ``hardpose.<queue>`` of a group."""
    name = queue_name(group)

    @shared_task(
        name=f"hardpose.{name}",
        base=ReadableTask,
        bind=True,
        max_retries=RETRIES + (MOST_CONDEMNED if Stage.ME in group else 0),
        default_retry_delay=RETRY_SECONDS,  # of a segment whose process was killed
        pydantic=True,
        pydantic_dump_kwargs={"mode": "json"},
    )
    def run(self: Task, result: SegmentResult) -> Handed | None:
        try:
            done = run_group(self, group, result)
        except BaseException as error:
            segment_raised(group, error)
            if isinstance(error, Exception) and not isinstance(error, (Retry, Reject)):
                raise failed(self, error, segment_failed.run) from None
            raise
        segment_ended(group, done is not None)
        return Handed(done) if done else None

    run.__doc__ = f"Runs {name} on one segment."
    return run


GROUP_TASKS = {queue_name(group): _register_group(group) for group in all_groups()}


@shared_task(name="hardpose.segment_failed")
def segment_failed(
    request: Any,
    error: BaseException,
    traceback: Any,  # noqa: ARG001 - Celery tells this kind of callback by its arity
    segment: dict[str, Any],
    books_queue: str,
) -> None:
    """Called by Celery in the worker in which a stage failed; that worker may have no catalog.

    So it only sends the failure to a worker that keeps the books. Three positional arguments and no
    ``bind`` make Celery call it at once, in process, with the error itself.
    """
    queue = str(request.task).removeprefix("hardpose.")
    # A replay begins with what the teacher has left.
    stage = Stage.MASK if queue == REPLAY else Stage(queue.split("+")[0])
    failure = describe_failure(error, stage, queue)
    log.error("segment %s failed in %s: %s", segment["index"], request.task, failure.cause)
    current_app.send_task(
        "hardpose.record_segment_failure",
        args=(segment, failure.model_dump(mode="json")),
        queue=books_queue,
        **_failure_captioned(Segment.model_validate(segment), failure),
    )


def _failure_captioned(segment: Segment, failure: Failure) -> dict[str, str]:
    shown = failure_caption(failure, segment.video.source)
    return captioned(f"{segment_caption(segment)}: {shown}")


@shared_task(
    name="hardpose.record_segment_failure", base=ReadableTask, bind=True, max_retries=None, pydantic=True
)
def record_segment_failure(self: Task, segment: Segment, failure: Failure) -> None:
    """Writes a segment's failure to the catalog; a catalog that is away is waited for."""
    try:
        process_runtime().catalog.fail_segment(segment, failure)
    except HardposeError as error:
        if error.action != Action.TRANSIENT:
            raise
        raise retry_later(self, error, BOOKS_RETRY_SECONDS) from error


@celeryd_init.connect
def remember_worker(sender: str, instance: Any, **_: Any) -> None:
    """The processes of the pool are not told the worker's name and age; they inherit them with the app."""
    instance.app.hardpose_worker = (sender, time.time())
    instance.app.steps["consumer"].add(RepairPump)  # of this room, so no part of every app
    logging.getLogger("celery.app.trace").addFilter(told_in_a_line)


@worker_process_init.connect
def preload(**_: Any) -> None:
    """Loads the models in the process that will use them, before the first segment arrives."""
    process_runtime.cache_clear()  # whatever the parent made before the fork is not to be shared
    _preload(os.getppid())


@worker_ready.connect
def preload_threads(sender: Any, **_: Any) -> None:
    """A worker without pool processes does its work in this one."""
    if type(sender.pool).__module__ != "celery.concurrency.prefork":
        _preload(os.getpid())


def _preload(pid: int) -> None:
    here, queues = process_runtime(), tuple(current_app.amqp.queues.consume_from)
    name, started = current_app.hardpose_worker
    here.device_turn = getattr(current_app, "hardpose_device_turn", None)
    if (described := getattr(current_app, "hardpose_described", None)) is not None:
        here.described = described  # what was tested, whatever its page says by now
    key = worker_key(socket.gethostname(), pid)
    begin_to_load(here, key, queues)
    card = load_and_describe(here, name, pid, started, queues)
    announce_until_heard(here, card, getattr(current_app, "hardpose_self_test", {}))
    has_come(here, key, queues)


@worker_shutdown.connect
def withdraw(**_: Any) -> None:
    """The worker is about to end."""
    PresenceBeat.end(load_settings())


__all__ = [
    "GROUP_TASKS",
    "download_link",
    "export",
    "preload",
    "record_segment_failure",
    "repair",
    "replay_segment",
    "segment_failed",
]
