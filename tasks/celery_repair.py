"""The Celery task that sends anew what was lost: links, what waits for a device alone, and exports."""

import logging

from celery import Celery, Task, shared_task

from broker.errors import Action, HardposeError
from broker.repair_orders import RepairOrders
from tasks.readable import ReadableTask
from tasks.repair_pump import TASK
from tasks.retrying import RETRIES, RETRY_SECONDS, again
from tasks.runtime import Runtime, process_runtime

log = logging.getLogger(__name__)


@shared_task(name=TASK, base=ReadableTask, bind=True, max_retries=RETRIES, default_retry_delay=RETRY_SECONDS)
def repair(self: Task, why: str) -> str:
    """Sends what is open; a second delivery does the same again, which voids the first's messages."""
    try:
        sent = repair_all(self.app, process_runtime())
    except HardposeError as error:
        if error.action == Action.TRANSIENT and self.request.retries < RETRIES:
            raise again(self, error) from error
        raise
    return f"{why}: " + ("another worker mends it" if sent is None else f"{sent} links and exports sent anew")


def repair_all(app: Celery, runtime: Runtime) -> int | None:
    """Sends anew every link and export that has not ended; None while another worker does.

    What is done stays done, what is under way is done again: earlier messages become void by their tickets.

    Raises:
        BrokerUnavailable: some may have been sent; the same again is safe.
    """
    from tasks.reconcile import Reconciler  # a worker of pose has no catalog

    with RepairOrders(runtime.control).mending() as still:
        if still is None:
            return None
        reconciler = Reconciler(app, runtime)
        sent = 0
        for job in runtime.catalog.jobs():
            if not job.final:
                still()
                sent += reconciler.resend(job.id)
        return sent + reconciler.resend_exports()
