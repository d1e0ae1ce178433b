"""Writing files that are whole or not there: hashing, full disks, locks between processes."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.errors import DiskFull, SettingsError
from workers.downloads.errors import encodable

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No space, quota used up, or larger than this process or file system may write."""
_NO_RIGHT = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})


def file_sha256(path: Path) -> str:
    """Hex sha256 of the file's bytes.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def room_needed(folder: Path) -> Iterator[None]:
    """Turns "no space left" and "may not write there" inside the ``with`` into typed errors.

    Raises:
        DiskFull: names the folder.
        SettingsError: it is read-only, another user's, or no folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_RIGHT and _is_in(folder, error.filename):
            raise SettingsError(
                encodable(f"{error.filename} cannot be written ({os.strerror(error.errno)})."),
                f"Let this user write in {encodable(str(folder))}, or choose another folder in the settings.",
            ) from error
        if error.errno not in _NO_ROOM:
            raise
        raise DiskFull(
            encodable(f"There is no room left to write in {folder} ({os.strerror(error.errno)})."),
            "Free some space, or choose another folder in the settings.",
        ) from error


def _is_in(folder: Path, name: object) -> bool:
    return isinstance(name, str) and (Path(name) == folder or folder in Path(name).parents)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file ``path``; others, in this and other processes, wait. Freed when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def publish(part: Path, final: Path) -> None:
    """Gives a finished file its name, in one step, after its bytes have reached the disk.

    Raises:
        DiskFull: if they do not fit.
    """
    with room_needed(final.parent):
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(final)
