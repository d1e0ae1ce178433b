"""A folder that appears whole or not at all."""

import errno
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.errors import DiskFull, HardposeError

log = logging.getLogger(__name__)

STALE_SECONDS = 24 * 3600
"""A temporary folder older than this belongs to a process that died; publishing takes minutes."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)
_TRIES = 5


class ForeignFolder(HardposeError):
    """The place of the data set is taken by something that hardpose did not write."""

    code = "foreign_folder"


class OutputUnusable(HardposeError):
    """The output folder cannot be written."""

    code = "output_unusable"


@contextmanager
def replaced(target: Path, mark: str) -> Iterator[Path]:
    """A new empty folder beside ``target`` that takes its place when the ``with`` ends well.

    The old folder is moved away first and deleted after, so that a reader never sees a mixture of both.
    When the block raises, ``target`` stays as it was.

    Args:
        target: the folder to replace; its parents are made.
        mark: a file that every folder of ours holds; a folder without it is never replaced.

    Raises:
        ForeignFolder: ``target`` is not ours to replace.
        DiskFull: there is no room.
        OutputUnusable: the place cannot be written for another reason.
    """
    _refuse_foreign(target, mark)
    tail = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    fresh = target.parent / f".{target.name}.tmp-{tail}"
    try:
        with explained(target):
            fresh.mkdir(parents=True)
            _remove_stale(target)
            yield fresh
            _swap(fresh, target, mark, target.parent / f".{target.name}.old-{tail}")
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # gone already when all went well


def _refuse_foreign(target: Path, mark: str) -> None:
    if not os.path.lexists(target):
        return
    ours = target.is_dir() and not target.is_symlink()
    if ours and ((target / mark).is_file() or not any(target.iterdir())):
        return
    raise ForeignFolder(
        f"{target} exists and was not written by hardpose (it holds no {mark}).",
        "Choose another output folder, or move that one away.",
    )


def _swap(fresh: Path, target: Path, mark: str, old: Path) -> None:
    """Puts ``fresh`` in the place of ``target``; repeated when another process publishes there too."""
    for attempt in range(_TRIES):
        _refuse_foreign(target, mark)
        moved = target.exists()
        if moved:
            target.rename(old)
        try:
            fresh.rename(target)
        except OSError as error:
            if error.errno in _OCCUPIED and attempt + 1 < _TRIES:
                shutil.rmtree(old, ignore_errors=True)
                continue
            if moved and not target.exists():
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return


def _remove_stale(target: Path) -> None:
    for kind in ("tmp", "old"):
        for path in target.parent.glob(f".{target.name}.{kind}-*"):
            if time.time() - path.lstat().st_mtime > STALE_SECONDS:
                log.info("Removing %s, left behind by a process that died", path)
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turns the system's errors about ``target`` into ``DiskFull`` and ``OutputUnusable``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"There is no room left for {target}.", "Free some space, or choose another output folder."
            ) from error
        raise OutputUnusable(
            f"{target} cannot be written: {error.strerror or error}.",
            "Choose an output folder that this user may write.",
        ) from error
