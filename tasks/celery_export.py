"""The Celery task of the export queue."""

import logging
from typing import Any

from celery import Task, current_app, shared_task
from celery.exceptions import SoftTimeLimitExceeded

from broker.app import EXPORT_QUEUE
from broker.errors import Action, HardposeError
from broker.messages import Failure
from tasks.attempts import counted
from tasks.captions import failure_caption
from tasks.exports.order import SOFT_SECONDS, TASK, attempt_of_export
from tasks.readable import ReadableTask, captioned
from tasks.retrying import BOOKS_RETRY_SECONDS, RETRIES, RETRY_SECONDS, again, retry_later
from tasks.runtime import process_runtime

log = logging.getLogger(__name__)


@shared_task(name=TASK, base=ReadableTask, bind=True, max_retries=RETRIES, default_retry_delay=RETRY_SECONDS)
def export(self: Task, export_id: str) -> str:
    """Makes one export. A second delivery of the message finds it done, or makes it again."""
    # Imported here: a device's worker has neither the catalog's packages nor OpenCV.
    from tasks.exports.make import make_export

    here = process_runtime()
    try:
        name, most = attempt_of_export(export_id), here.settings.max_attempts
        with counted(here.control, name, most, f"Export {export_id}"):
            counts = make_export(here, export_id)
    except HardposeError as error:
        if error.action == Action.TRANSIENT and self.request.retries < RETRIES:
            raise again(self, error) from error
        raise
    return "nothing to do" if counts is None else _told(counts)


def _told(counts: dict[str, int]) -> str:
    splits = ", ".join(f"{counts[name]} {name}" for name in ("train", "val", "test"))
    return f"{splits} of {counts['videos']} videos"


@shared_task(name="hardpose.export_failed")
def export_failed(
    request: Any,  # noqa: ARG001 - Celery tells this kind of callback by its arity
    error: BaseException,
    traceback: Any,  # noqa: ARG001 - as above
    export_id: str,
) -> None:
    """Called by Celery in the worker in which an export failed, also when its process was killed.

    It only sends the failure on: the worker's main process must not open the store that its pool uses.
    """
    failure = describe(error)
    log.error("export %s failed: %s", export_id, failure.cause)
    current_app.send_task(
        "hardpose.record_export_failure",
        args=(export_id, failure.model_dump(mode="json")),
        queue=EXPORT_QUEUE,
        **captioned(f"{export_id}: {failure_caption(failure)}"),
    )


@shared_task(
    name="hardpose.record_export_failure", base=ReadableTask, bind=True, max_retries=None, pydantic=True
)
def record_export_failure(self: Task, export_id: str, failure: Failure) -> None:
    """Writes an export's failure to the books; a catalog that is away is waited for."""
    from tasks.exports.make import discard_file

    here = process_runtime()
    try:
        here.catalog.exports.fail(export_id, failure)
        discard_file(here, export_id)
    except HardposeError as error:
        if error.action != Action.TRANSIENT:
            raise
        raise retry_later(self, error, BOOKS_RETRY_SECONDS) from error


def describe(error: BaseException) -> Failure:
    """The record of an error that ended an export."""
    if isinstance(error, SoftTimeLimitExceeded) or type(error).__name__ == "TimeLimitExceeded":
        return Failure(
            code="time_limit",
            cause=f"The export took longer than {SOFT_SECONDS // 3600} hours.",
            remedy="Export fewer frames at once, or bring the worker nearer to the artifact store.",
        )
    if type(error).__name__ == "WorkerLostError":
        return Failure(
            code="worker_lost",
            cause="The process that made the export was killed, each time it tried.",
            remedy="It probably ran out of memory; look at the worker's log.",
        )
    return Failure.of(error)
