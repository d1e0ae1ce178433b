"""Runs a downloader of sites in a process of its own: killed at its deadline, confined, without our secrets.

The other end is ``workers.downloads.tool.child``.
"""

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from broker.errors import HardposeError
from broker.settings import Tool
from workers.downloads.contracts import Fetched, FetchLimits, Listing, Metadata, Watcher
from workers.downloads.errors import (
    DownloadTimeout,
    ExtractionFailed,
    FileUnreadable,
    NotFoundOnServer,
    RefusedByServer,
    ServerBusy,
    TransferCut,
    UnsupportedSite,
    VideoTooLarge,
)
from workers.downloads.files import room_needed
from workers.downloads.links import storable
from workers.downloads.net.guard_proxy import GuardProxy
from workers.downloads.net.netguard import NetGuard, Resolver, resolve
from workers.downloads.tool.child import ToolRequest
from workers.downloads.tool.pipe import Child, child_process
from workers.downloads.tool.result import checked_file, rebuilt, without_secrets

log = logging.getLogger(__name__)

PACKAGES: Mapping[Tool, str] = {"ytdlp": "yt-dlp", "pytubefix": "pytubefix", "pytube": "pytube"}
"""Name of each tool's package, which is also the name that users see."""
COOKIES = "cookies.txt"
_UNCLEAR = (
    ExtractionFailed, ServerBusy, TransferCut, RefusedByServer, NotFoundOnServer, UnsupportedSite,
    DownloadTimeout,
)  # fmt: skip
"""Failures as which a tool sees a refused connection. Any other says more of the video than the refusal."""


@dataclass(frozen=True)
class ToolOptions:
    """What a tool takes from the settings.

    Attributes:
        values: passed to the adapter; JSON values.
        cookies: the operator's cookies.txt; the tool gets a copy.
        upstream: the operator's proxy, password included; only the guard proxy sees it.
        resolver: of host names.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    cookies: Path | None = None
    upstream: str | None = field(default=None, repr=False)
    resolver: Resolver = resolve


def run_tool(
    tool: Tool, link: str, folder: Path, limits: FetchLimits, options: ToolOptions, watcher: Watcher
) -> Fetched | Listing:
    """Lets ``tool`` fetch ``link`` into a folder of its own in ``folder``.

    Args:
        tool: must be installed.
        link: a site's page.
        folder: of this link; what an earlier call left there is continued.
        limits: see ``FetchLimits``.
        options: of the tool.
        watcher: asked before any byte of the video is.

    Raises:
        DownloadError: by kind, with ``tool`` and ``tool_version``.
        DiskFull: no room in ``folder``.
        FileUnreadable: the operator's cookies cannot be read.
        SettingsError: the operator's proxy cannot be used.
        Exception: whatever ``watcher`` raises, unchanged.
    """
    name, number = PACKAGES[tool], version(PACKAGES[tool])
    home = folder.absolute() / tool
    try:
        request, guard = _prepare(tool, link, home, limits, options)
        deadline = time.monotonic() + limits.timeout_seconds
        with GuardProxy(guard, options.upstream) as proxy:
            ask = ToolRequest(**{**request, "proxy": proxy.url})
            try:
                with child_process(home, proxy.url) as child:
                    child.ask(ask)
                    outcome = _converse(child, limits, watcher, deadline)
            except _UNCLEAR as error:
                raise proxy.refusal or _clearer(error, proxy) from error
            finally:
                (home / COOKIES).unlink(missing_ok=True)  # the folder may be kept for a day
        if isinstance(outcome, _List):
            return Listing(outcome.links, outcome.title, outcome.complete, name, number)
        digest = checked_file(outcome.path, home, outcome.metadata, limits.max_bytes)
    except HardposeError as error:
        error.tool, error.tool_version = error.tool or name, error.tool_version or number
        raise
    return _fetched(link, outcome, digest, name, number)


def _prepare(
    tool: Tool, link: str, home: Path, limits: FetchLimits, options: ToolOptions
) -> tuple[dict[str, Any], NetGuard]:
    (home / "home").mkdir(parents=True, exist_ok=True)
    cookies = _copy_of(options.cookies, home) if options.cookies else None
    request = {
        "tool": tool,
        "link": link,
        "folder": home,
        "max_height": limits.max_height,
        "max_bytes": limits.max_bytes,
        "max_entries": limits.max_entries,
        "options": dict(options.values),
        "cookies": cookies,
    }
    return request, NetGuard(limits.allow_networks, options.resolver)


def _copy_of(cookies: Path, home: Path) -> Path:
    copy = home / COOKIES
    copy.unlink(missing_ok=True)
    try:
        content = cookies.read_bytes()
    except OSError as error:
        raise FileUnreadable(
            f"The cookies in {cookies} cannot be read: {error.strerror}.",
            "Set HARDPOSE_DOWNLOAD_COOKIES right, or leave it out.",
        ) from error
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with room_needed(home), os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return copy


def _clearer(error: HardposeError, proxy: GuardProxy) -> HardposeError:
    """What the proxy has met, where the tool says no more than that it failed."""
    vague = isinstance(error, (ServerBusy, TransferCut, ExtractionFailed))
    return proxy.trouble if vague and proxy.trouble is not None else error


@dataclass(frozen=True)
class _File:
    path: Path
    metadata: Metadata


@dataclass(frozen=True)
class _List:
    links: tuple[str, ...]
    title: str
    complete: bool


def _converse(child: Child, limits: FetchLimits, watcher: Watcher, deadline: float) -> _File | _List:
    """Answers the child until its last word."""
    while True:
        said = child.next_word(deadline, limits.timeout_seconds)
        match said["kind"]:
            case "found":
                watcher.found(Metadata(**said["metadata"]))
                child.say("go")
            case "warned":
                log.warning("a downloader goes on, but was told: %s", without_secrets(said["cause"]))
            case "moved":
                _check_size(said["received"], limits.max_bytes)
                watcher.moved(said["received"], said["total"])
            case "listing":
                return _List(tuple(said["links"]), said["title"], said["complete"])
            case "fetched":
                return _File(Path(said["path"]), Metadata(**said["metadata"]))
            case "failed":
                raise rebuilt(said["code"], said["cause"], said["remedy"])


def _check_size(received: int, largest: int) -> None:
    if received > largest:
        raise VideoTooLarge(
            f"The video has {received} bytes or more, the limit is {largest}.",
            "Choose a smaller height, or raise HARDPOSE_MAX_VIDEO_BYTES.",
        )


def _fetched(link: str, file: _File, digest: str, name: str, number: str) -> Fetched:
    stated = file.metadata
    return Fetched(
        path=file.path,
        source=storable(link),
        video_id=stated.video_id,
        title=stated.title,
        tool=name,
        tool_version=number,
        sha256=digest,
        temporary=True,
        licence=stated.licence,
        uploader=stated.uploader,
        uploader_id=stated.uploader_id,
        channel_id=stated.channel_id,
        upload_date=stated.upload_date,
        format_id=stated.format_id,
    )
