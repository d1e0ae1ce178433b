"""The child process in which a downloader of sites runs: its end of the protocol, and the way in.

``python -P -m workers.downloads.tool.child``. The request is one line of JSON on stdin; the answers are
lines of JSON on stdout: ``warned``, ``found``, ``moved``, ``listing``, ``fetched``, ``failed``. After
``found`` the child waits for ``go`` or ``stop``. When stdin ends, the worker is gone, and the child goes too.
"""

import errno
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

from broker.errors import DiskFull, HardposeError
from workers.downloads.contracts import Metadata
from workers.downloads.errors import ExtractionFailed, VideoTooLarge, encodable
from workers.downloads.tool.confinement import MEMORY_BYTES, confine

ADAPTERS: Mapping[str, str] = {
    "ytdlp": "workers.downloads.ytdlp",
    "pytubefix": "workers.downloads.pytube",
    "pytube": "workers.downloads.pytube",
}
"""Module of each tool. It has ``fetch(request: ToolRequest, report: Report) -> None``, and may have
``runtimes() -> Sequence[str]``: the programs that the tool may start, by path."""

MOVED_EVERY_SECONDS = 0.25


class Stopped(BaseException):
    """The parent wants nothing more. No ``Exception``, so that no tool takes it for a fault of the site."""


@dataclass(frozen=True)
class ToolRequest:
    """What the parent asks of a tool.

    Attributes:
        tool: ``ytdlp``, ``pytubefix`` or ``pytube``.
        link: the page.
        folder: the only one that may be written to; it may hold what an earlier call of this link left.
        proxy: ``http://user:password@127.0.0.1:port``; everything goes through it, nothing beside it.
        max_height: of a format, in pixels.
        max_bytes: of the file.
        max_entries: most links of a playlist or a channel.
        options: what the tool takes from the settings; JSON values.
        cookies: a cookies.txt in ``folder`` that is the tool's own copy, or None.
    """

    tool: str
    link: str
    folder: Path
    proxy: str = field(repr=False)
    max_height: int
    max_bytes: int
    max_entries: int
    options: Mapping[str, Any] = field(default_factory=dict)
    cookies: Path | None = None

    def to_json(self) -> bytes:
        """One line."""
        return json.dumps(asdict(self), default=str).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes) -> "ToolRequest":
        """The reverse of ``to_json``."""
        values = json.loads(line)
        values["folder"] = Path(values["folder"])
        values["cookies"] = Path(values["cookies"]) if values["cookies"] else None
        return cls(**values)


class Report:
    """What an adapter tells its parent.

    Args:
        send: takes one line of JSON.
        answer: waits for the parent's next word.
        max_bytes: of the file.
    """

    def __init__(self, send: Callable[[bytes], object], answer: Callable[[], str], max_bytes: int) -> None:
        self._send_line = send
        self._answer = answer
        self._max_bytes = max_bytes
        self._last_moved = float("-inf")
        self.ended = False
        """Whether ``listing``, ``fetched`` or ``failed`` was said: one of them is the last word."""

    def found(self, metadata: Metadata) -> None:
        """To be called before any byte of the media is asked for; returns when the parent wants them.

        Raises:
            Stopped: it does not.
        """
        self._send("found", metadata=asdict(metadata))
        if self._answer() != "go":
            raise Stopped

    def moved(self, received: int, total: int | None) -> None:
        """So many bytes are here; may be called as often as one likes.

        Args:
            received: bytes of the file so far.
            total: its size, where that is certain; no estimate.

        Raises:
            VideoTooLarge: more bytes than the request allows.
        """
        largest = max(received, total or 0)
        if largest > self._max_bytes:
            raise VideoTooLarge(
                f"The video has {largest} bytes or more, the limit is {self._max_bytes}.",
                "Choose a smaller height, or raise HARDPOSE_MAX_VIDEO_BYTES.",
            )
        if time.monotonic() - self._last_moved >= MOVED_EVERY_SECONDS:
            self._last_moved = time.monotonic()
            self._send("moved", received=received, total=total)

    def warned(self, cause: str) -> None:
        """The site has flagged this address, but the video is to be had all the same; for the log."""
        self._send("warned", cause=cause)

    def listing(self, links: Sequence[str], title: str, complete: bool) -> None:
        """The link is a list of these; the last word."""
        self._end("listing", links=list(links), title=title, complete=complete)

    def fetched(self, path: Path, metadata: Metadata) -> None:
        """The file is whole; the last word."""
        self._end("fetched", path=str(path), metadata=asdict(metadata))

    def failed(self, error: HardposeError) -> None:
        """There will be no file; the last word. Adapters raise the error instead of calling this."""
        self._end("failed", code=error.code, cause=error.cause, remedy=error.remedy)

    def _end(self, kind: str, **values: Any) -> None:
        self.ended = True
        self._send(kind, **values)

    def _send(self, kind: str, **values: Any) -> None:
        self._send_line(encodable(json.dumps({"kind": kind, **values})).encode() + b"\n")


def run_adapter(request: ToolRequest, report: Report, fetch: Callable[[ToolRequest, Report], None]) -> None:
    """Calls the adapter, and says how it ended."""
    try:
        fetch(request, report)
        if not report.ended:
            report.failed(_unexpected("The tool ended without a word."))
    except Stopped:
        return
    except HardposeError as error:
        report.failed(error)
    except BaseException as error:  # noqa: BLE001 - recorded: the parent raises and logs it
        report.failed(typed(error, request))


def typed(error: BaseException, request: ToolRequest) -> HardposeError:
    """The typed error of something that no adapter has foreseen."""
    if isinstance(error, MemoryError):  # no fault of the tool: a page without end, or one that unpacks to it
        return VideoTooLarge(
            f"What the site answers needs more than {MEMORY_BYTES // 1024**2} MiB of memory.",
            "Leave the link out.",
        )
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"There is no room left in {request.folder}.", "Free some space.")
    if number == errno.EFBIG:
        return VideoTooLarge(
            f"The video has more than {request.max_bytes} bytes.",
            "Choose a smaller height, or raise HARDPOSE_MAX_VIDEO_BYTES.",
        )
    return _unexpected(f"{type(error).__name__}: {error}")


def _unexpected(text: str) -> ExtractionFailed:
    return ExtractionFailed(text[:500], "Update the downloader: sites change every month.")


def main() -> None:
    """Reads the request, shuts the doors, runs the tool and ends the process."""
    words, answers = _take_pipes()
    request = ToolRequest.from_json(words.readline())
    report = Report(answers.write, _listen(words).get, request.max_bytes)
    try:
        adapter = importlib.import_module(ADAPTERS[request.tool])
        runtimes: Sequence[str] = getattr(adapter, "runtimes", tuple)()
        confine(request.folder, request.proxy, runtimes, request.max_bytes)
    except Exception as error:  # noqa: BLE001 - recorded: the parent raises and logs it
        report.failed(typed(error, request))
    else:
        run_adapter(request, report, adapter.fetch)
    os._exit(0)  # no thread or exit handler of a tool holds it up


def _take_pipes() -> tuple[Any, Any]:
    """The parent's pipes, out of reach of whatever the tool prints, reads or starts."""
    words = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    cast(TextIOWrapper, sys.stdout).reconfigure(line_buffering=True)  # what was printed last is told first
    return words, _Flushed(answers)


class _Flushed:
    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def write(self, line: bytes) -> None:
        with self._lock:
            self._pipe.write(line)
            self._pipe.flush()


def _listen(words: Any) -> "queue.SimpleQueue[str]":
    """Passes the parent's words on; ends this process, and all it has started, with the parent."""
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        while line := words.readline():
            heard.put(line.decode().strip())
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    return heard


if __name__ == "__main__":
    main()
