"""Shuts a downloader's process in: it writes to one folder, speaks to one proxy, starts one runtime.

An audit hook (PEP 578) is no wall against code that means to break out of the interpreter. It makes sure
that no option, no extractor, no plugin and no hostile page leads a tool to a file, an address or a program
that is not its own.
"""

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SLACK_BYTES = 64 * 1024**2
"""By which a single file may be larger than the video's limit: the limit itself is kept by the tools."""
MEMORY_BYTES = 2 * 1024**3
"""Of this process, and of the runtime. yt-dlp reads a page whole, however long, and unpacks it. Measured:
yt-dlp takes 60 MiB, Deno 2.9 starts within 1 GiB but not within 512 MiB."""
CPU_SECONDS = 3600
"""The end of what computes and listens to nobody, a regular expression or a runtime, when the worker was
killed."""

_PATHS: Mapping[str, tuple[tuple[int, int | None], ...]] = {
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.utime": ((0, 3),),
    "os.truncate": ((0, None),),
    "os.setxattr": ((0, None),),
    "os.removexattr": ((0, None),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
}
"""Where an event's arguments name what is written, and the open folder that a path is relative to (Python's
table of audit events)."""
_REFUSED = frozenset(
    {"os.system", "os.exec", "os.fork", "os.forkpty", "os.spawn", "pty.spawn"}
    | {"socket.bind", "socket.sendto", "socket.sendmsg", "socket.gethostbyaddr"}
    | {"webbrowser.open", "sqlite3.connect"}
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Confined(PermissionError):
    """The process tried something that is none of a downloader's business."""


def confine(folder: Path, proxy: str, runtimes: Sequence[str], max_bytes: int) -> None:
    """Shuts this process in, for good.

    Args:
        folder: the only one that may be written to.
        proxy: ``http://...:port``, the only address that may be connected to.
        runtimes: paths of the programs that may be started.
        max_bytes: of the video; no file may become much larger.
    """
    sys.dont_write_bytecode = True
    bounds = {
        resource.RLIMIT_FSIZE: max_bytes + SLACK_BYTES,
        resource.RLIMIT_DATA: MEMORY_BYTES,  # not of addresses: V8 reserves far more than it uses
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in bounds.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    sys.addaudithook(Warden(folder, proxy, runtimes))


class Warden:
    """The audit hook: raises ``Confined`` at what is not allowed. Arguments as of ``confine``."""

    def __init__(self, folder: Path, proxy: str, runtimes: Sequence[str]) -> None:
        self._folder = os.path.realpath(folder)
        parts = urlsplit(proxy)
        self._proxy = (parts.hostname, parts.port)
        self._runtimes = frozenset(os.path.realpath(path) for path in runtimes)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by the interpreter before each audited action."""
        if event == "open":
            self._open(*arguments)
        elif event in _PATHS:
            for path, folder in _PATHS[event]:
                self._write(arguments[path], -1 if folder is None else arguments[folder])
        elif event == "socket.connect":
            self._connect(arguments[1])
        elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
            self._resolve(arguments[0])
        elif event in ("subprocess.Popen", "os.posix_spawn"):  # Popen itself spawns since Python 3.13
            self._start(arguments[0])
        elif event in _REFUSED:
            raise Confined(f"{event} is not allowed in a downloader's process")

    def _open(self, path: Any, mode: str | None, flags: int) -> None:
        if isinstance(path, int) or os.fsdecode(path) == os.devnull:
            return
        # The event does not say relative to which open folder a path is, so none outside may be opened. It
        # has no mode when it comes from os.open, the only one that opens folders.
        if flags & _WRITES or (mode is None and Path(os.fsdecode(path)).is_dir()):
            self._write(path)

    def _write(self, path: Any, folder: int = -1) -> None:
        if isinstance(path, int):  # a file that is open: it was checked when it was opened
            return
        name = os.fsdecode(path)
        if folder >= 0:
            name = str(Path(f"/proc/self/fd/{folder}").readlink() / name)
        real = os.path.realpath(name)
        if real != self._folder and not real.startswith(self._folder + os.sep):
            raise Confined(f"writing to {name!r} is not allowed in a downloader's process")

    def _connect(self, address: Any) -> None:
        if not isinstance(address, tuple) or tuple(address[:2]) != self._proxy:
            raise Confined(f"connecting to {address!r} is not allowed: everything goes through the proxy")

    def _resolve(self, host: Any) -> None:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if name != self._proxy[0]:
            raise Confined(f"looking up {name!r} is not allowed: the proxy does")

    def _start(self, program: Any) -> None:
        path = os.fsdecode(program)
        if os.sep not in path or os.path.realpath(path) not in self._runtimes:
            raise Confined(f"starting {path!r} is not allowed in a downloader's process")
