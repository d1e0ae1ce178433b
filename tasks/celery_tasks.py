"""The Celery tasks: thin shells around the stages. Every group of stages that can share a process is a task.

Results are not stored: state lives in the catalog. A task may run twice; all it writes is keyed by content.
"""

import logging
import os
import socket
import time
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from celery import Task, current_app, shared_task
from celery.exceptions import Reject, Retry, SoftTimeLimitExceeded
from celery.signals import worker_process_init, worker_ready, worker_shutdown

from broker.control import Control
from broker.errors import Action, BrokerUnavailable, HardposeError
from broker.messages import Failure, Segment, SegmentResult
from broker.parking import ParkedLink, Parking
from broker.recipe import Stage
from broker.settings import load_settings
from tasks.attempts import attempt_of_link, attempt_of_segment, counted
from tasks.pipeline import link_limits, run_stages, send_link, send_segments
from tasks.placement import Group, all_groups, queue_name
from tasks.runtime import Runtime
from workers.process import process_name

if TYPE_CHECKING:
    from tasks.transfer import Errand, PutBack

log = logging.getLogger(__name__)

RETRIES = 3
RETRY_SECONDS = 2
"""First pause before a retry; doubled each time."""
BOOKS_RETRY_SECONDS = 30
"""Pause while the catalog is away: a failure that is not written down would leave its job open for ever."""


@cache
def runtime() -> Runtime:
    """The runtime of this process."""
    return Runtime(load_settings())


@shared_task(name="hardpose.download", bind=True, max_retries=RETRIES, default_retry_delay=RETRY_SECONDS)
def download_link(self: Task, job_id: str, position: int, link: str, ticket: str = "") -> None:
    """Fetches one link and sends one chain for each of its segments, or one message for each of its links."""
    # Imported here: a model or device worker has neither the catalog's packages nor a decoder's.
    from tasks.download import download
    from tasks.transfer import Errand, PutBack

    here = runtime()
    try:
        if here.control.link_superseded(job_id, position, ticket):
            log.info("link %s of job %s was sent anew, this message is void", position, job_id)
            return
        name, most = attempt_of_link(job_id, position), here.settings.max_attempts
        with counted(here.control, name, most, f"Link {position + 1}") as starts:
            # More than one: the process ended while this link, among others, was in it.
            done = download(here, Errand(job_id, position, link, ticket), suspect=starts > 1)
        send_segments(self.app, here, done.segments)
        for child in done.links:
            send_link(self.app, here, job_id, child.position, child.link)
    except PutBack as wait:
        raise _parked(self, Errand(job_id, position, link, ticket), wait) from wait
    except BrokerUnavailable as error:
        raise again(self, error) from error
    except HardposeError as error:
        if error.action == Action.TRANSIENT and self.request.retries < RETRIES:
            _tell(here, job_id, position, error, _pause(self))
            raise again(self, error) from error
        _record_link(self, job_id, position, error)
    except Exception as error:
        log.exception("link %s of job %s failed", position, job_id)
        _record_link(self, job_id, position, error)


def _parked(task: Task, errand: "Errand", wait: "PutBack") -> BaseException:
    """Lets a link wait outside the queue: it costs no worker, no memory and no attempt.

    Returns what ends the task. To Celery that is a retry, so that neither its log nor Flower calls a link
    that waits a success.
    """
    from tasks.transfer import best_effort

    here = runtime()
    message = ParkedLink(
        job_id=errand.job_id,
        position=errand.position,
        link=errand.link,
        ticket=errand.ticket,
        retries=task.request.retries,
        task_id=task.request.id,
        reason=wait.reason,
        **link_limits(here.settings),
    )
    with best_effort(f"link {errand.who} waits and is still shown as running"):
        here.catalog.put_back(errand.job_id, errand.position)
    try:
        Parking(here.control).park(message, wait.seconds)
    except BrokerUnavailable as away:
        return again(task, away)
    told = f"put back ({wait.reason}) for {wait.seconds:.0f} s"
    return cast(BaseException, Retry(told, when=wait.seconds))


def _record_link(task: Task, job_id: str, position: int, error: BaseException) -> None:
    """Writes a link's failure to the catalog; a catalog that is away is waited for, with the link."""
    try:
        runtime().catalog.fail_link(job_id, position, describe_failure(error, Stage.DOWNLOAD))
    except HardposeError as away:
        if away.action != Action.TRANSIENT:
            raise
        raise _retry(task, away, BOOKS_RETRY_SECONDS, max_retries=None) from away


def again(task: Task, error: HardposeError) -> BaseException:
    """What to raise so that the task is run again a little later; each pause is twice the one before.

    Without the broker a retry could not be sent and would be lost; a refused message goes back by itself.
    """
    if isinstance(error, BrokerUnavailable):
        time.sleep(RETRY_SECONDS)
        return cast(BaseException, Reject(str(error), requeue=True))
    return _retry(task, error, _pause(task))


def _pause(task: Task) -> float:
    """Seconds until the next try of ``task``."""
    return float(RETRY_SECONDS * 2**task.request.retries)


def _tell(here: Runtime, job_id: str, position: int, error: HardposeError, seconds: float) -> None:
    """Tells those who watch that a link is tried again, and why. That is news, and no reason to fail."""
    try:
        here.control.stumbled(job_id, position, error.cause, seconds)
    except BrokerUnavailable as away:
        log.warning("that link %s of job %s is tried again is not shown: %s", position, job_id, away)


def _retry(task: Task, error: HardposeError, pause: float, **options: Any) -> BaseException:
    """Celery's retry; where it could not be sent, Celery would drop the message, and we have it back."""
    try:
        return cast(BaseException, task.retry(exc=error, countdown=pause, throw=False, **options))
    except Reject as unsent:
        log.warning("a retry could not be sent, the message goes back: %s", unsent.reason)
        time.sleep(RETRY_SECONDS)
        return cast(BaseException, Reject(unsent.reason, requeue=True))


def run_group(task: Task, stages: Group, result: SegmentResult) -> SegmentResult | None:
    """Runs a group of stages on a segment, unless its message is void.

    Returns ``None`` when the segment was sent anew since; the chain then ends here.
    """
    here, segment = runtime(), result.segment
    try:
        if here.control.superseded(segment):
            log.info("segment %s was sent anew, this message is void", segment.key)
            task.request.chain = None
            return None
        with counted(
            here.control,
            attempt_of_segment(segment, queue_name(stages)),
            here.settings.max_attempts,
            _what(segment, stages),
        ):
            result = run_stages(here, stages, result)
            if Stage.COMPARE in stages:
                here.catalog.settle_segment(result)
    except HardposeError as error:
        if error.action == Action.TRANSIENT and task.request.retries < RETRIES:
            raise again(task, error) from error
        raise
    _advance(here, segment, stages)
    return result


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
        bind=True,
        max_retries=RETRIES,
        default_retry_delay=RETRY_SECONDS,  # of a segment whose process was killed
        pydantic=True,
        pydantic_dump_kwargs={"mode": "json"},
    )
    def run(self: Task, result: SegmentResult) -> SegmentResult | None:
        return run_group(self, group, result)

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
    failure = describe_failure(error, Stage(queue.split("+")[0]), queue)
    log.error("segment %s failed in %s: %s", segment["index"], request.task, failure.cause)
    current_app.send_task(
        "hardpose.record_segment_failure",
        args=(segment, failure.model_dump(mode="json")),
        queue=books_queue,
    )


def describe_failure(error: BaseException, stage: Stage, queue: str = "") -> Failure:
    """The record of an error that ended a task; ``queue`` names the stages of a fused one."""
    queue = queue or stage.value
    if isinstance(error, SoftTimeLimitExceeded) or type(error).__name__ == "TimeLimitExceeded":
        return Failure(
            code="time_limit",
            cause=f"{queue} took longer than its time limit.",
            remedy="Raise HARDPOSE_SOFT_TIME_LIMIT and HARDPOSE_HARD_TIME_LIMIT, or shorten the segments.",
            stage=stage,
        )
    if type(error).__name__ == "WorkerLostError":
        return Failure(
            code="worker_lost",
            cause=f"The process of {queue} was killed, each time it tried.",
            remedy="It probably ran out of memory; look at the worker's log.",
            stage=stage,
        )
    return Failure.of(error, stage)


@shared_task(name="hardpose.record_segment_failure", bind=True, max_retries=None, pydantic=True)
def record_segment_failure(self: Task, segment: Segment, failure: Failure) -> None:
    """Writes a segment's failure to the catalog; a catalog that is away is waited for."""
    try:
        runtime().catalog.fail_segment(segment, failure)
    except HardposeError as error:
        if error.action != Action.TRANSIENT:
            raise
        raise _retry(self, error, BOOKS_RETRY_SECONDS) from error


def _own_stages() -> tuple[Stage, ...]:
    queues = current_app.amqp.queues.consume_from
    return tuple(Stage(name) for queue in queues for name in queue.split("+"))


@worker_process_init.connect
def preload(**_: Any) -> None:
    """Loads the models in the process that will use them, before the first segment arrives."""
    runtime.cache_clear()  # whatever the parent made before the fork is not to be shared
    _preload(f"{socket.gethostname()}:{os.getppid()}")


@worker_ready.connect
def preload_threads(sender: Any, **_: Any) -> None:
    """A worker without pool processes does its work in this one."""
    if type(sender.pool).__module__ != "celery.concurrency.prefork":
        _preload(process_name())


def _preload(name: str) -> None:
    stages = _own_stages()
    try:
        runtime().preload(stages)
    except Exception:
        # The same error meets the first task and is recorded there; raised here it would end the
        # process, and its successor, for ever.
        log.exception("cannot load what %s need", ", ".join(stages))
    runtime().control.announce(name)


@worker_shutdown.connect
def withdraw(**_: Any) -> None:
    """The worker is about to end."""
    Control.of(load_settings()).withdraw(process_name())


__all__ = ["GROUP_TASKS", "download_link", "preload", "record_segment_failure", "segment_failed"]
