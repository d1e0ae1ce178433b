"""Where a transfer lies until it is whole: a folder for each link, found again by the next try."""

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.downloads.files import room_needed

log = logging.getLogger(__name__)

FOLDER = "hardpose-parts"
KEPT_SECONDS = 24 * 3600.0
"""For which a transfer that was cut may be taken up again; then its folder is swept."""


class PartBusy(Exception):
    """Another process or thread of this machine is fetching into the folder."""


@contextmanager
def part_folder(root: Path, name: str, resumable: Callable[[BaseException], bool]) -> Iterator[Path]:
    """The folder of the transfer ``name``, locked while inside.

    It is removed on the way out, unless an error passes that is ``resumable`` and there is a file in it; a
    process that is killed leaves it too. What an earlier try has left in it is there.

    Args:
        root: on a disk with room; made when needed.
        name: of the transfer, usable in a path.
        resumable: whether the next try may build upon what is there.

    Raises:
        PartBusy: if it is in use.
        DiskFull: no room for it.
    """
    folder = root / FOLDER / name
    with _locked(folder):
        try:
            yield folder
        except BaseException as error:
            if not resumable(error) or not any(path.is_file() for path in folder.rglob("*")):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = _lock(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int:
    """The open and locked folder: the lock ends with the descriptor, or with the process."""
    while True:
        with room_needed(folder.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise PartBusy(str(folder)) from error
        # It may have been swept between our opening and our locking it.
        if _is(folder, descriptor):
            return descriptor
        os.close(descriptor)


def _is(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def sweep(root: Path, older_than_seconds: float = KEPT_SECONDS) -> int:
    """Removes the folders of transfers that nobody has taken up again; returns how many."""
    swept = 0
    for folder in (root / FOLDER).glob("*"):
        try:
            if time.time() - _last_written(folder) > older_than_seconds:
                with _locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)
                swept += 1
        except (PartBusy, FileNotFoundError):
            continue  # in use, or somebody else has swept it
    if swept:
        log.info("swept %d transfers that were left behind", swept)
    return swept


def _last_written(folder: Path) -> float:
    return max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)
