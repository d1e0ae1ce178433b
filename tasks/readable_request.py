"""A message at work in a worker's main process, as it is shown to those who watch."""

from typing import Any

from celery.worker.request import Request

from tasks.dataset.text import public_text

SHOWN = ("args", "kwargs", "result", "exception", "traceback")


class ReadableRequest(Request):  # type: ignore[misc]
    """Celery's, but it shows captions for arguments, and no link with its secrets."""

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: ARG002 - the arguments are never shown
        """What `celery inspect active` and Flower show of it."""
        return dict(super().info(safe=True))

    def send_event(self, type: str, **fields: Any) -> None:
        """Tells those who watch; an error's text and traceback may name a link."""
        for name in SHOWN:
            if isinstance(fields.get(name), str):
                fields[name] = public_text(fields[name])
        super().send_event(type, **fields)
