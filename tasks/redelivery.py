"""Messages that RabbitMQ has delivered often: they are sent anew before its patience ends.

A quorum queue counts how often a message was taken and not acknowledged, and drops it at a limit: 20 in
RabbitMQ 4, where no queue or policy says otherwise. That is meant for work that ends its worker; ours is
counted elsewhere (``tasks.attempts``). What is given back for good reason, again and again, is not to be
lost: a segment of a device that is switched off for a day, or any message while the shared state is away. And
what is given back for ever keeps the queue's log from ever being shortened (RabbitMQ documentation, "Quorum
Queues", Repeated Requeues).
"""

import logging
from collections.abc import Mapping
from typing import Any

from celery import Task
from celery.exceptions import Ignore
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)

COUNT = "x-delivery-count"
"""RabbitMQ's header of a message that was delivered before: how often."""
OTHERS = ("x-acquired-count",)
"""RabbitMQ 4's, of the same kind."""
MOST_DELIVERIES = 10
"""Half of RabbitMQ 4's limit: a message whose worker loses its link before it looks at it is counted too."""


def unmarked(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """``headers`` of a message without what the server has counted: a copy is a new message."""
    return {name: value for name, value in (headers or {}).items() if name not in (COUNT, *OTHERS)}


def send_anew_if_worn(task: Task) -> None:
    """Lets a message pass that was not delivered too often; else puts a copy of it at the end of its queue.

    Nothing is lost on the way: the copy is there before this message is acknowledged. Where it cannot be sent
    the message passes, and is tried as it is.

    Raises:
        celery.exceptions.Ignore: it was sent anew; this one is done with.
    """
    request = task.request
    count = (request.headers or {}).get(COUNT, 0)
    if count < MOST_DELIVERIES:
        return
    try:
        task.signature_from_request(request, retries=request.retries).apply_async()
    except OperationalError as error:
        log.warning("a message that was delivered %s times could not be sent anew: %s", count, error)
        return
    log.info("%s was delivered %s times: sent anew", request.id, count)
    raise Ignore
