"""Tasks that a person can read in Flower: what they are about, and what came of them, without secrets.

Celery shows a task by the ``repr`` of its arguments and of its result. Ours are messages of many kilobytes,
and the link in them may hold a secret; so a message carries a caption, and a result has a short ``repr``.
"""

from typing import Any

from celery import Task

from broker.amqp_queues import WorkQueues, queue_behind
from broker.errors import HardposeError
from broker.messages import Failure, SegmentResult
from tasks.captions import next_caption, public_line, result_caption
from tasks.redelivery import send_anew_if_worn, unmarked

NO_KEYWORDS = "{}"
"""Shown for keyword arguments: what they say is in the caption."""


class ReadableTask(Task):  # type: ignore[misc]
    """Base of our tasks: a retry keeps its caption, nobody is shown the arguments themselves, and no message
    is delivered more often than RabbitMQ allows.
    """

    Request = "tasks.readable_request:ReadableRequest"

    def signature_from_request(self, request: Any = None, *args: Any, **options: Any) -> Any:
        """Celery's, of which a retry is made."""
        shown = self.request if request is None else request
        options.setdefault("headers", unmarked(shown.as_execution_options()["headers"]))
        key = (shown.delivery_info or {}).get("routing_key")
        if key and self.app.amqp.queues_cls is WorkQueues:  # a delayed one names another exchange
            options.setdefault("queue", queue_behind(key))
        for name in ("argsrepr", "kwargsrepr"):
            text = shown.get(name)
            if text is not None:
                options.setdefault(name, text)
        return super().signature_from_request(request, *args, **options)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Called in front of every task."""
        send_anew_if_worn(self)


class Handed:
    """The result of a segment's task: JSON for the next task, a line for people."""

    def __init__(self, result: SegmentResult) -> None:
        self._result = result

    def __json__(self) -> dict[str, Any]:
        """Kombu asks for it when the next message is written."""
        return self._result.model_dump(mode="json")

    def __repr__(self) -> str:
        return result_caption(self._result)


class LinkFailed(HardposeError):
    """A link whose failure is written down: it ends its task, so that Flower shows it as failed, and why."""

    def __init__(self, code: str, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.args = (code, cause, remedy)
        self.code = code  # type: ignore[misc]

    @classmethod
    def of(cls, failure: Failure, link: str) -> "LinkFailed":
        """``failure`` as everyone may read it."""
        return cls(failure.code, public_line(failure.cause, link), public_line(failure.remedy, link))


def captioned(text: str) -> dict[str, str]:
    """Options of a message that shows ``text`` for its arguments."""
    return {"argsrepr": text, "kwargsrepr": NO_KEYWORDS}


def caption_next(task: Task, result: SegmentResult) -> None:
    """Tells in the next message of the chain, if there is one, what came of the stages before."""
    if task.request.chain:
        task.request.chain[-1]["options"].update(captioned(next_caption(result)))
