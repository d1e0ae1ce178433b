"""Runs a downloader of sites in a process of its own: killed at its deadline, confined, without our secrets.

The other end is ``workers.downloads.tool_child``.
"""

import contextlib
import json
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from workers.downloads.guard_proxy import GuardProxy
from workers.downloads.links import storable
from workers.downloads.netguard import NetGuard, Resolver, resolve
from workers.downloads.tool_child import ToolRequest
from workers.downloads.tool_result import checked_file, rebuilt

log = logging.getLogger(__name__)

PACKAGES: Mapping[Tool, str] = {"ytdlp": "yt-dlp", "pytubefix": "pytubefix", "pytube": "pytube"}
"""Name of each tool's package, which is also the name that users see."""
STDERR_LINES = 30
ENDING_SECONDS = 2.0
"""For a process that has closed its pipe to be gone."""

_UNCLEAR = (
    ExtractionFailed, ServerBusy, TransferCut, RefusedByServer, NotFoundOnServer, UnsupportedSite,
    DownloadTimeout,
)  # fmt: skip
"""Failures as which a tool sees a refused connection. Any other says more of the video than the refusal."""
_KEPT = ("LANG", "LC_ALL", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


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
                with _child(home, proxy.url) as child:
                    child.ask(ask)
                    outcome = _converse(child, limits, watcher, deadline)
            except _UNCLEAR as error:
                raise proxy.refusal or _clearer(error, proxy) from error
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
    copy = home / "cookies.txt"
    try:
        shutil.copyfile(cookies, copy)
    except OSError as error:
        raise FileUnreadable(
            f"The cookies in {cookies} cannot be read: {error.strerror}.",
            "Set HARDPOSE_DOWNLOAD_COOKIES right, or leave it out.",
        ) from error
    copy.chmod(0o600)
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


def _converse(child: "_Child", limits: FetchLimits, watcher: Watcher, deadline: float) -> _File | _List:
    """Answers the child until its last word."""
    while True:
        said = child.next_word(deadline, limits.timeout_seconds)
        match said["kind"]:
            case "found":
                watcher.found(Metadata(**said["metadata"]))
                child.say("go")
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


class _Child:
    """A running child process, and what it says."""

    def __init__(self, process: "subprocess.Popen[bytes]", secret: str) -> None:
        self._process = process
        self._secret = secret
        self._words: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.last_lines: deque[str] = deque(maxlen=STDERR_LINES)
        self._readers = [
            threading.Thread(target=target, daemon=True) for target in (self._hear, self._hear_errors)
        ]
        for reader in self._readers:
            reader.start()

    def ask(self, request: ToolRequest) -> None:
        """Sends the request."""
        self._write(request.to_json())

    def say(self, word: str) -> None:
        """Sends ``go``."""
        self._write(word.encode() + b"\n")

    def next_word(self, deadline: float, allowed: float) -> dict[str, Any]:
        """What the child says next.

        Raises:
            DownloadTimeout: nothing until ``deadline``, in seconds of the monotonic clock.
            ExtractionFailed: it has ended without a last word.
        """
        try:
            word = self._words.get(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            raise DownloadTimeout(
                f"The video did not arrive within {allowed:g} s.",
                "Run the same command again later. HARDPOSE_DOWNLOAD_TIMEOUT_SECONDS sets the time.",
            ) from None
        if word is None:
            raise self._lost()
        return word

    def end(self) -> None:
        """Kills it, and all that it has started; returns when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        with contextlib.suppress(OSError):  # what was not yet written has no reader any more
            self._process.stdin.close()  # type: ignore[union-attr]
        for line in self.last_lines:
            log.debug("%s", line)

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:  # it has ended: its last word, or that there is none, tells why
            log.debug("the downloader's process no longer listens")

    def _lost(self) -> ExtractionFailed:
        end = time.monotonic() + ENDING_SECONDS  # its own way of ending tells more than being killed
        while not self._has_ended() and time.monotonic() < end:
            time.sleep(0.01)
        self.end()
        code = self._process.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        last = self.last_lines[-1] if self.last_lines else "it said nothing"
        return ExtractionFailed(
            f"The downloader's process {how}: {last}.", "Look into the log; update the downloader."
        )

    def _has_ended(self) -> bool:
        # It is left unburied: until then nobody else can have its number, and with that its group's.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _hear(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as pipe:
                for line in pipe:
                    self._words.put(json.loads(line))
        except ValueError as error:
            self.last_lines.append(f"it said what is no JSON: {error}")
        finally:
            self._words.put(None)

    def _hear_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as pipe:
            for line in pipe:
                text = line[:2000].decode("utf-8", "replace").rstrip()
                self.last_lines.append(text.replace(self._secret, "***"))


@contextmanager
def _child(home: Path, proxy: str) -> Iterator[_Child]:
    # -P: a folder that the user works in may hold a module of the name of ours.
    line = [sys.executable, "-P", "-m", "workers.downloads.tool_child"]
    process = subprocess.Popen(  # noqa: S603 - our own program, a list of arguments, no shell
        line,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home,
        env=_environment(home / "home"),
        start_new_session=True,
    )
    child = _Child(process, proxy.rpartition("@")[0].rpartition(":")[2])
    try:
        yield child
    finally:
        child.end()


def _environment(home: Path) -> dict[str, str]:
    """All that the child may know of ours. Named one by one: settings and secrets are variables too."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    scripts = sysconfig.get_path("scripts")
    folders = dict.fromkeys(
        ("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), str(home)
    )
    path = os.pathsep.join((scripts, os.environ.get("PATH", os.defpath)))
    return {**kept, **folders, "PATH": path, "DENO_NO_UPDATE_CHECK": "1"}
