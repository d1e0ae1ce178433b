"""From the error that ended a task to the record that the catalog keeps of it."""

from celery.exceptions import SoftTimeLimitExceeded

from broker.messages import Failure
from broker.recipe import Stage


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
