"""Temporary copies of remote artifacts: the last few are kept, so segments of a video share one download."""

import fcntl
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "hardpose-copies-"
KEEP = 2
"""Unused copies kept by one process: the video at work and the one before it."""


@dataclass
class _Copy:
    path: Path
    users: int = 0
    ready: threading.Lock = field(default_factory=threading.Lock)


class LocalCopies:
    """Copies in one folder of this object: removed with it, or by a later process if this one is killed.

    Args:
        temp_dir: parent of the folder; the system's default without it. The folder is made at first use.
    """

    def __init__(self, temp_dir: Path | None = None) -> None:
        self._parent = temp_dir
        self._folder: Path | None = None
        self._copies: dict[str, _Copy] = {}  # the least recently used first
        self._lock = threading.Lock()
        self._number = 0

    @contextmanager
    def use(self, key: str, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """A file that ``fetch`` has filled; it is not removed while it is in use.

        Args:
            key: what the file is a copy of.
            fetch: writes the bytes to the path it is given; called only when there is no copy yet.
        """
        copy = self._take(key)
        try:
            with copy.ready:
                if not copy.path.exists():
                    part = copy.path.with_suffix(".part")
                    try:
                        fetch(part)
                        part.rename(copy.path)
                    finally:
                        part.unlink(missing_ok=True)
            yield copy.path
        finally:
            self._give_back(copy)

    def forget(self, key: str) -> None:
        """Drops the copy of ``key``; its file goes when the last user has left."""
        with self._lock:
            copy = self._copies.pop(key, None)
            if copy is not None and not copy.users:
                copy.path.unlink(missing_ok=True)

    def _take(self, key: str) -> _Copy:
        with self._lock:
            copy = self._copies.pop(key, None)
            if copy is None:
                self._number += 1
                copy = _Copy(self._home() / f"{self._number}{Path(key).suffix}")
            copy.users += 1
            self._copies[key] = copy
            return copy

    def _give_back(self, copy: _Copy) -> None:
        with self._lock:
            copy.users -= 1
            if not copy.users and copy not in self._copies.values():
                copy.path.unlink(missing_ok=True)
            idle = [key for key, other in self._copies.items() if not other.users]
            for key in idle[: max(0, len(idle) - KEEP)]:
                self._copies.pop(key).path.unlink(missing_ok=True)

    def _home(self) -> Path:
        if self._folder is None:
            parent = Path(self._parent or tempfile.gettempdir())
            parent.mkdir(parents=True, exist_ok=True)
            _sweep(parent)
            self._folder, handle = _make_locked(parent)
            weakref.finalize(self, _remove, self._folder, handle, os.getpid())
        return self._folder


def _make_locked(parent: Path) -> tuple[Path, int]:
    """A new folder and the open file that holds its lock: the sign that its process lives."""
    with _alone(parent):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_SH)
    return folder, lock


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """No folder is swept between its making and its lock: both take the lock of the parent folder."""
    handle = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove(folder: Path, handle: int, owner: int) -> None:
    if os.getpid() == owner:  # a forked child inherits the finalizer, not the folder
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _sweep(parent: Path) -> None:
    """Removes folders whose process was killed: nobody holds their lock any more."""
    with _alone(parent):
        for folder in parent.glob(f"{PREFIX}*"):
            try:
                handle = os.open(folder, os.O_RDONLY)
            except OSError:  # another user's, or just removed
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            except BlockingIOError:
                continue
            finally:
                os.close(handle)
