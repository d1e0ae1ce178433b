"""What every request passes before a route sees it, and every answer on its way out."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http import sessions
from api.http.access import LOCAL, Caller
from api.http.errors import NotJsonBody, NotSignedIn, TooLarge
from api.http.front import Front
from api.http.problems import internal_problem, problem_of
from broker.errors import HardposeError

log = logging.getLogger(__name__)

SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
OPEN_PATHS = ("/", "/healthz", "/readyz", "/session")
"""For whoever has no token: what says that the API lives, and what signs in."""
BODY_SECONDS = 60.0
"""For the body of a request: a megabyte at 140 kbit/s. Whoever is slower holds a connection for nothing."""
OPEN_FOLDERS = ("/review", "/docs")
"""The pages themselves; what they show they have to ask for like everybody else."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""On every answer (OWASP, HTTP Headers Cheat Sheet)."""


class Outermost:
    """Security headers, counts and times, and an answer to what nobody else has caught."""

    def __init__(self, app: ASGIApp, front: Front) -> None:
        self._app, self._front = app, front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, stream = time.perf_counter(), 0, False

        async def sending(message: Message) -> None:
            nonlocal status, stream
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                stream = headers.get("content-type", "").startswith("text/event-stream")
                _complete(headers)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:  # recorded with its traceback, and answered with a 500
            log.exception("%s %.300r failed", scope["method"], scope["path"])
            if status:
                raise
            await internal_problem()(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", None) or "unmatched"
            seconds = None if stream else time.perf_counter() - began
            self._front.metrics.note(scope["method"], route, status, seconds)


def _complete(headers: MutableHeaders) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if "json" in headers.get("content-type", ""):
        headers.setdefault("Cache-Control", "no-store")


class Guard:
    """Host, size, caller, origin and rate, in this order: the cheap and the general before the rest.

    Whoever has no token is turned away here, whatever the route: none can forget to ask.
    """

    def __init__(self, app: ASGIApp, front: Front) -> None:
        self._app, self._front = app, front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._check(scope, Headers(scope=scope))
        except HardposeError as error:
            await problem_of(error)(scope, receive, send)
            return
        await self._app(scope, _bounded(receive, self._front.settings.api_max_body_bytes), send)

    async def _check(self, scope: Scope, headers: Headers) -> None:
        front = self._front
        front.hosts.check(headers.get("host", ""))
        _check_body(headers, front.settings.api_max_body_bytes)
        caller = _caller(front, scope, headers)
        await self._count(scope, caller)
        if caller is None and not _is_open(scope["path"]):
            raise NotSignedIn(
                "This takes a token.", "Send the header Authorization: Bearer TOKEN, or sign in on the page."
            )
        if caller is None or caller.by_browser:
            origin, site = headers.get("origin"), headers.get("sec-fetch-site")
            if scope["method"] in SAFE_METHODS:
                front.hosts.check_reader(origin, site, headers.get("sec-fetch-mode"))
            else:
                front.hosts.check_page(headers.get("host", ""), origin, site)
        scope.setdefault("state", {})["caller"] = caller

    async def _count(self, scope: Scope, caller: Caller | None) -> None:
        if scope["path"] == "/healthz":
            return
        address = (scope.get("client") or ("unknown",))[0]
        who = f"address:{address}" if caller is None or caller is LOCAL else f"name:{caller.name}"
        count: Callable[[str, str, str], None] = self._front.limits.count
        if self._front.limits.shared:
            await to_thread.run_sync(
                count, who, scope["method"], scope["path"], limiter=self._front.small_threads
            )
        else:
            count(who, scope["method"], scope["path"])


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or any(path == f or path.startswith(f"{f}/") for f in OPEN_FOLDERS)


def _caller(front: Front, scope: Scope, headers: Headers) -> Caller | None:
    if front.access.open:
        return LOCAL
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind:
        return front.access.by_token(token.strip()) if kind.lower() == "bearer" else None
    cookie = Request(scope).cookies.get(sessions.COOKIE)
    return sessions.read(front.access, cookie) if cookie else None


def _check_body(headers: Headers, most: int) -> None:
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > most:
        raise _too_large(most)
    if length in ("", "0") and "transfer-encoding" not in headers:
        return
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise NotJsonBody(
            f"The request is {kind[:100] or 'of no stated type'}, not JSON.",
            "Send the header Content-Type: application/json.",
        )


def _too_large(most: int) -> TooLarge:
    return TooLarge(
        f"The request is larger than {most:,} bytes.",
        "Send less at once, or raise HARDPOSE_API_MAX_BODY_BYTES.",
    )


def _bounded(receive: Receive, most: int) -> Callable[[], Awaitable[Any]]:
    """``receive`` that refuses what is streamed beyond ``most`` bytes, whatever its length was said to be,
    and whoever takes longer than ``BODY_SECONDS`` to send it.
    """
    seen, whole, deadline = 0, False, time.monotonic() + BODY_SECONDS

    async def receiving() -> Message:
        nonlocal seen, whole
        try:
            # Behind the body comes nothing but the end of the connection, at any time.
            async with asyncio.timeout(None if whole else deadline - time.monotonic()):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(408, f"The request did not come in {BODY_SECONDS:g} s.") from error
        whole = not message.get("more_body", False)
        seen += len(message.get("body", b""))
        if seen > most:
            # The only kind that the framework lets through while it reads a body.
            raise HTTPException(413, _too_large(most).cause)
        return message

    return receiving
