"""urllib through one proxy, with a bound on each answer: for tools that read whole answers into memory."""

import http.client
import urllib.request
from collections.abc import Callable
from typing import Any


class AnswerTooLarge(http.client.HTTPException):
    """A server sends more than any page or part of a video has."""


class EmptyAnswer(http.client.HTTPException):
    """A server answers with no byte at all. pytubefix would ask again at once, without end."""


class _Bound(urllib.request.BaseHandler):
    """Bounds ``read()`` without a size on every answer.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:  # noqa: ARG002
        """Called by urllib with each answer, before anybody reads it."""
        response.read = _bounded(response.read, response, self._limit)
        return response

    https_response = http_response


def _bounded(read: Callable[..., bytes], response: Any, limit: int) -> Callable[..., bytes]:
    begun = False

    def bounded(size: int | None = None) -> bytes:
        nonlocal begun
        if size is not None and size >= 0:
            return read(size)
        data = read(limit + 1)
        if not data and not begun and response.status < 300:
            raise EmptyAnswer("an answer without a byte")
        begun = True
        if len(data) > limit:
            raise AnswerTooLarge(f"an answer has more than {limit} bytes")
        if missing := response.length or 0:  # with a size, read() keeps quiet about an answer that is cut off
            raise http.client.IncompleteRead(data, missing)
        return data

    return bounded


def bounded_opener(proxy: str, limit: int) -> urllib.request.OpenerDirector:
    """An opener for ``urllib.request.install_opener``.

    Args:
        proxy: ``http://user:password@host:port``, for http and https alike.
        limit: bytes of an answer that is read as a whole.
    """
    through = urllib.request.ProxyHandler({"http": proxy, "https": proxy})
    return urllib.request.build_opener(through, _Bound(limit))
