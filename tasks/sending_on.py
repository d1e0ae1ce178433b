"""Hands a segment on to the next stage from inside the task, where a broken link can still be answered.

Celery does it after the task, and takes a message that could not be sent for the end of the work: it
acknowledges the message, and the segment would be lost.
"""

from celery import Task, signature

from broker.messages import SegmentResult
from tasks.pipeline import sending
from tasks.readable import Handed, caption_next


def send_on(task: Task, result: SegmentResult) -> None:
    """Sends the next task of the chain, if there is one, as Celery would: the same id, root and parent.

    Sent twice is harmless: the books take a segment once (``Catalog.settle_segment``).

    Raises:
        BrokerUnavailable: it could not be sent; the message of this task has to go back.
    """
    request = task.request
    if not request.chain:
        return
    caption_next(task, result)
    following = signature(request.chain[-1], app=task.app)
    with sending():
        following.apply_async(
            (Handed(result),),
            chain=request.chain[:-1],
            root_id=request.root_id or request.id,
            parent_id=request.id,
        )
    request.chain = None  # sent: Celery has nothing left to do
