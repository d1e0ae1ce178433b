"""Hands a segment on to the next stage from inside the task, where a broken link can still be answered.

Celery does it after the task, and takes a message that could not be sent for the end of the work: it
acknowledges the message, and the segment would be lost.
"""

import logging
from collections.abc import Callable
from typing import Any

from celery import Task, signature

from broker.control import Control
from broker.errors import BrokerUnavailable
from broker.messages import SegmentResult
from tasks.pipeline import sending
from tasks.readable import Handed, caption_next
from tasks.retrying import again
from tasks.voids import MessageVoid

log = logging.getLogger(__name__)


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


def check_not_done(task: Task, control: Control, name: str) -> None:
    """Lets a message pass unless it comes again, and its work was handed on before the link broke.

    Args:
        task: at its start.
        control: of the system.
        name: of the work (``tasks.attempts``).

    Raises:
        MessageVoid: it was.
        BrokerUnavailable: nobody can say.
    """
    delivered = task.request.delivery_info or {}
    if delivered.get("redelivered") and control.is_done(name):
        raise MessageVoid(f"{name} is done; its message was delivered once more")


def note_done(control: Control, name: str) -> None:
    """Notes for ``check_not_done`` that the work was handed on. Without it, it is done twice."""
    try:
        control.mark_done(name)
    except BrokerUnavailable as error:
        log.warning("it is not noted that %s is done: %s", name, error)


def failed(task: Task, error: Exception, tell: Callable[..., Any]) -> BaseException:
    """What to raise when a segment has failed for good; by then the books are told.

    Celery tells them after the task, and forgets about it when the link is broken: the segment would be open
    for ever.

    Args:
        task: of the segment.
        error: that has ended it.
        tell: Celery's error callback, ``(request, error, traceback, **kwargs)``.

    Returns:
        ``error``, or what puts the message back until the books can be told.
    """
    errbacks = task.request.errbacks or []
    try:
        with sending():
            for errback in errbacks:
                tell(task.request, error, None, **errback["kwargs"])
    except BrokerUnavailable as unsent:
        return again(task, unsent)
    task.request.errbacks = None  # told: Celery has nothing left to do
    return error
