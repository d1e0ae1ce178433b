"""Fetching one file over http(s): resumed after a cut, within limits, every hop checked."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from workers.downloads.errors import (
    BadLink,
    DownloadError,
    DownloadTimeout,
    NotAVideo,
    NotFoundOnServer,
    RefusedByServer,
    ServerBusy,
    TooManyRedirects,
    TooManyRequests,
    TransferCut,
    VideoTooLarge,
)
from workers.downloads.files import room_needed
from workers.downloads.net.deadline import Deadline
from workers.downloads.net.netguard import GuardedTransport, NetGuard

log = logging.getLogger(__name__)

MAX_REDIRECTS = 5
MAX_TRIES = 4
"""Connections in a row that may bring no new byte before the fetch is given up."""
BACKOFF_SECONDS = 0.5
"""Pause after the first fruitless connection; doubles with each further one. A server's Retry-After is not
looked at: after these seconds the task waits, and after a 429 the host's breaker, longer than most ask."""
MOVED_EVERY_SECONDS = 0.25
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
TRANSIENT_STATUS = frozenset({408, 425, 500, 502, 503, 504})
AGAIN = "Run the same command again later."
"""Remedy of a fetch that was given up: by then it has been tried as often as it will be."""
PAGE_TYPES = ("text/html", "application/xhtml+xml")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
"""RFC 9110, 14.4. One with an unknown total is of no use: its end cannot be told from a cut."""


@dataclass(frozen=True)
class HttpLimits:
    """Bounds of one fetch.

    Attributes:
        max_bytes: of the whole file.
        timeout_seconds: from the first connection to the last byte.
    """

    max_bytes: int
    timeout_seconds: float


Moved = Callable[[int, int | None], None]
"""Told some times a second how many bytes of the file are here, and its size if that is known."""


def unwatched(received: int, total: int | None) -> None:
    """Nothing."""


def fetch_url(url: str, part: Path, limits: HttpLimits, guard: NetGuard, moved: Moved = unwatched) -> None:
    """Fetches ``url`` into the file ``part``.

    A connection that breaks is taken up again where it broke, if the server can (Range with If-Range) and
    the file there is still the same; else from the start. What an earlier, broken call left in ``part`` is
    used in the same way: the server's tag for it lies beside it in ``<part>.tag``.

    What ``moved`` raises ends the fetch and rises unchanged.

    Raises:
        UnsupportedScheme, BadLink, PrivateAddress, NameNotResolved: see ``NetGuard``.
        NotFoundOnServer, RefusedByServer, TooManyRedirects, TooManyRequests, ServerBusy: the server's answer.
        NotAVideo: the server sends an HTML page.
        TransferCut, DownloadTimeout: it did not come through.
        VideoTooLarge: more than ``limits.max_bytes`` announced or sent.
        DiskFull: no room for it.
    """
    fetch = _Fetch(part, limits, time.monotonic() + limits.timeout_seconds, moved)
    failure: DownloadError | None = None
    fruitless = 0
    with _client(guard) as client, Deadline(limits.timeout_seconds) as deadline:
        while fruitless < MAX_TRIES:
            before, failure, whole = fetch.offset(), None, False
            try:
                with _answer(client, guard, url, fetch.headers(), deadline) as response:
                    whole = fetch.take(response)
            except (ServerBusy, TransferCut) as error:
                failure = error
            except httpx.TransportError as error:
                failure = _broken(error, fetch.offset())
            if whole:
                fetch.tag_file.unlink(missing_ok=True)
                return
            fruitless = 0 if fetch.offset() > before else fruitless + 1
            fetch.check_time()
            if failure is None and not fruitless:
                continue  # the server gives the file in parts: the next one at once
            failure = failure or TransferCut("The server sends parts that cannot be joined.", AGAIN)
            log.info("fetch interrupted at byte %d: %s", fetch.offset(), failure.cause)
            time.sleep(BACKOFF_SECONDS * 2 ** max(fruitless - 1, 0))
    assert failure is not None
    raise failure


@contextmanager
def _client(guard: NetGuard) -> Iterator[httpx.Client]:
    for name in ("httpx", "httpcore"):  # they log whole addresses, and a query may hold a token
        if logging.getLogger(name).getEffectiveLevel() < logging.WARNING:
            logging.getLogger(name).setLevel(logging.WARNING)
    with httpx.Client(
        transport=GuardedTransport(guard),
        trust_env=False,
        timeout=TIMEOUT,
        event_hooks={"response": [_check_location]},
    ) as client:
        yield client


def _check_location(response: httpx.Response) -> None:
    # Before httpx looks at it: it would call this a fault of the connection, which trying again may mend.
    if response.has_redirect_location:
        try:
            response.request.url.join(response.headers["location"])
        except (httpx.InvalidURL, ValueError) as error:
            raise BadLink(
                f"{response.request.url.host} redirects to an address that cannot be parsed.",
                "Give the direct link of the file.",
            ) from error


def _broken(error: httpx.TransportError, offset: int) -> DownloadError:
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return ServerBusy(f"The server cannot be reached ({text}).", "Check the link and the network.")
    return TransferCut(f"The connection broke at byte {offset} ({text}).", AGAIN)


@contextmanager
def _answer(
    client: httpx.Client, guard: NetGuard, url: str, headers: dict[str, str], deadline: Deadline
) -> Iterator[httpx.Response]:
    """The answer at the end of the redirects; each hop's scheme, host and addresses are checked."""
    target = guard.check_url(url)
    for _ in range(MAX_REDIRECTS + 1):
        ask = client.stream("GET", target, headers=headers, extensions={"trace": deadline.trace})
        with ask as response:
            if not response.has_redirect_location:
                _check_status(response)
                yield response
                return
            target = guard.check_url(str(target.join(response.headers["location"])))
    raise TooManyRedirects(
        f"The link was redirected more than {MAX_REDIRECTS} times.", "Give the direct link of the file."
    )


def _check_status(response: httpx.Response) -> None:
    status, host = response.status_code, response.request.url.host
    if status in (200, 206, 416):
        return
    says = f"{host} answers HTTP {status}"
    if status in (404, 410):
        raise NotFoundOnServer(f"{says}: there is no such file.", "Check the link.")
    if status == 429:
        raise TooManyRequests(f"{says}: too many requests.", "Wait an hour before running it again.")
    if status in TRANSIENT_STATUS or status >= 500:
        raise ServerBusy(f"{says}.", AGAIN)
    raise RefusedByServer(f"{says}.", "Check that the link opens without logging in.")


class _Fetch:
    """The state of one fetch: the file so far, and what may be asked for next."""

    def __init__(self, part: Path, limits: HttpLimits, deadline: float, moved: Moved) -> None:
        self.part = part
        self.tag_file = part.with_name(part.name + ".tag")
        self._limits = limits
        self._deadline = deadline
        self._tell = moved
        self._told = float("-inf")

    def offset(self) -> int:
        """Bytes that are there and may be built upon."""
        return self.part.stat().st_size if self.part.exists() and self.tag_file.exists() else 0

    def headers(self) -> dict[str, str]:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "hardpose"}
        if offset := self.offset():
            headers |= {"Range": f"bytes={offset}-", "If-Range": self.tag_file.read_text()}
        return headers

    def take(self, response: httpx.Response) -> bool:
        """Writes the body to its end, or raises; whether the file is whole then."""
        if response.headers.get("content-type", "").partition(";")[0].strip().lower() in PAGE_TYPES:
            raise NotAVideo(
                f"{response.request.url.host} sends an HTML page instead of a video.",
                "Give the direct link of the file.",
            )
        start, announced, total = self._span(response)
        self._check_size(total or 0)
        with room_needed(self.part.parent), self.part.open("r+b" if start else "wb") as file:
            file.seek(start)
            self._remember_tag(response)
            for chunk in response.iter_raw():  # as they come: a chunk size would hold bytes back at a cut
                self._check_size(file.tell() + len(chunk))
                self.check_time()
                file.write(chunk)
                self._moved(file.tell(), total)
            self.check_time()  # a body without a length seems whole when its connection is ended
            file.truncate()
            end = file.tell()
        if announced is not None and end != announced:
            if end > announced:
                self.tag_file.unlink(missing_ok=True)  # nobody knows what the rest is
            raise TransferCut(f"{end} of {announced} bytes arrived.", AGAIN)
        return end == total or total is None

    def _span(self, response: httpx.Response) -> tuple[int, int | None, int | None]:
        """Where the body begins, where it should end, and the size of the whole file; None if unknown.

        A body begins at 0 unless the server continues exactly where the file ends.
        """
        if response.status_code == 200:
            length = response.headers.get("content-length", "")
            total = int(length) if length.isdecimal() else None
            return 0, total, total
        span = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
        if response.status_code == 206 and span:
            first, last, total = map(int, span.groups())
            if first == self.offset() and first <= last < total:
                return first, last + 1, total
        self.tag_file.unlink(missing_ok=True)  # the next try starts over
        raise TransferCut("The server cannot continue the file.", AGAIN)

    def _moved(self, received: int, total: int | None) -> None:
        if time.monotonic() - self._told >= MOVED_EVERY_SECONDS:
            self._told = time.monotonic()
            self._tell(received, total)

    def _remember_tag(self, response: httpx.Response) -> None:
        tag = response.headers.get("etag", "")
        if not tag or tag.startswith("W/"):  # If-Range needs a strong validator (RFC 9110, 13.1.5)
            tag = response.headers.get("last-modified", "")
        if tag and tag.isascii():
            self.tag_file.write_text(tag)
        else:
            self.tag_file.unlink(missing_ok=True)

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise VideoTooLarge(
                f"The file has {size} bytes or more, the limit is {self._limits.max_bytes}.",
                "Give a smaller file, or raise HARDPOSE_MAX_VIDEO_BYTES.",
            )

    def check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise DownloadTimeout(
                f"The file did not arrive within {self._limits.timeout_seconds:g} s.",
                f"{AGAIN} HARDPOSE_DOWNLOAD_TIMEOUT_SECONDS sets the time.",
            )
