"""Sends orders for exports to the queue. Light: whoever only sends needs no package of the work's."""

from celery import Celery

from broker.app import EXPORT_QUEUE
from broker.exports import ExportSpec
from tasks.pipeline import sending
from tasks.readable import captioned
from tasks.runtime import Runtime

SOFT_SECONDS = 4 * 3600
"""50,000 frames of a remote store take minutes; hours are for slow ones. An export is no segment, whose
limits are in the settings."""
TASK = "hardpose.export"


def attempt_of_export(export_id: str) -> str:
    """Name under which the starts of an export are counted."""
    return f"export:{export_id}"


def send_export(app: Celery, runtime: Runtime, export_id: str) -> None:
    """Enqueues an order that is booked; sending it anew is harmless, and counts its starts anew.

    Args:
        app: sends.
        runtime: of this process.
        export_id: of the order.

    Raises:
        NotFound: there is no such order.
        BrokerUnavailable: sending it anew is safe.
    """
    order = runtime.catalog.exports.get(export_id)
    runtime.control.end(attempt_of_export(export_id))
    with sending():
        app.send_task(
            TASK,
            args=(export_id,),
            queue=EXPORT_QUEUE,
            soft_time_limit=SOFT_SECONDS,
            time_limit=SOFT_SECONDS + 60,
            link_error=app.signature("hardpose.export_failed", args=(export_id,)),
            **captioned(f"{export_id}: {export_caption(order.spec)}"),
        )


def send_open_exports(app: Celery, runtime: Runtime) -> int:
    """Sends anew what is ordered and has not ended, after a loss of messages; returns how many."""
    found = runtime.catalog.exports.open()
    for export_id in found:
        send_export(app, runtime, export_id)
    return len(found)


def export_caption(spec: ExportSpec) -> str:
    """``coco, 2 jobs, hard``: what is wanted, in a line."""
    where = spec.frames
    parts = [str(spec.format)]
    parts += (
        [f"{len(where.jobs)} jobs" if len(where.jobs) > 1 else f"job {where.jobs[0]}"] if where.jobs else []
    )
    parts += ["+".join(where.verdicts)] if where.verdicts else []
    parts += [f"IoU below {where.below_iou:g}"] if where.below_iou is not None else []
    parts += [f"{spec.control} control"] if spec.control else []
    return ", ".join(parts)
