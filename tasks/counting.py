"""Counts for Prometheus how the work of this process goes. No count is a reason for the work to fail."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from celery.exceptions import Reject, Retry

from broker.errors import HardposeError
from broker.messages import SegmentResult, Video
from broker.recipe import ModelSpec, Stage
from tasks.placement import Group
from workers.metrics import Outcome, WorkerMetrics, worker_metrics

log = logging.getLogger(__name__)

VOID = "void: "
"""How the answer of a link's task begins that had nothing to do."""

OTHER = "other"
"""In place of the code of an error that is none of ours."""


def segment_ended(stages: Group, done: bool) -> None:
    """A segment's task has come to its end; not ``done``: its message was void."""
    with _counting() as metrics:
        metrics.segment(stages, "done" if done else "void")


def segment_raised(stages: Group, error: BaseException) -> None:
    """A segment's task has ended with ``error``."""
    with _counting() as metrics:
        metrics.segment(stages, _outcome(error))
        _count_failure(metrics, error)


def stage_worked(stage: Stage, before: SegmentResult, after: SegmentResult) -> None:
    """A stage has run on a segment, and made ``after`` of ``before``."""
    with _counting() as metrics:
        metrics.worked(stage, before, after)


def link_ended(answer: str) -> None:
    """A link's task has come to its end with this answer."""
    with _counting() as metrics:
        metrics.link("void" if answer.startswith(VOID) else "done")


def link_raised(error: BaseException, parked: bool) -> None:
    """A link's task has ended with ``error``; ``parked``: it waits for its turn, and nothing went wrong."""
    with _counting() as metrics:
        metrics.link("parked" if parked else _outcome(error))
        if not parked:
            _count_failure(metrics, error)


def video_fetched(video: Video) -> None:
    """A video's file is here."""
    with _counting() as metrics:
        metrics.fetched(video.tool, video.size_bytes)


def models_loaded(models: dict[Stage, ModelSpec]) -> None:
    """These models are loaded into this process."""
    with _counting() as metrics:
        metrics.loaded(models)


def found_unfit(code: str) -> None:
    """Nothing can be loaded here because of an error of this code; empty: it can (again)."""
    with _counting() as metrics:
        metrics.found_unfit(code)


def run_again(error: Exception) -> None:
    """A task is run again later because of ``error``."""
    with _counting() as metrics:
        metrics.retried(_code(error))


@contextmanager
def _counting() -> Iterator[WorkerMetrics]:
    """The counts may be in files, and those on a disk that is full."""
    try:
        yield worker_metrics()
    except OSError as error:
        log.warning("this is not counted in the metrics: %s", error)


def _count_failure(metrics: WorkerMetrics, error: BaseException) -> None:
    if _outcome(error) == "failed":
        metrics.failed(_code(error))


def _code(error: BaseException) -> str:
    return error.code if isinstance(error, HardposeError) else OTHER


def _outcome(error: BaseException) -> Outcome:
    return "retried" if isinstance(error, (Retry, Reject)) else "failed"
