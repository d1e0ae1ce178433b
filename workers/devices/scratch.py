"""The folders of one call of a device's command, and a strict look at what the command left in them."""

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from workers.devices.errors import NothingWritten, UnreadableAnswer, WroteOutside

REMEDY = "Let the command write plain files into {output_dir}, and nothing anywhere else."
_SHOWN, _LETTERS = 3, 40
"""Of the names that a command left: so many stand in an error, and so much of each."""


class Scratch:
    """``in`` with the pictures, ``out`` for the masks, ``tmp`` for what the command likes.

    The first two are kept open, so that they cannot be exchanged for others.

    Args:
        folder: private and empty.
        pictures: by file name.
    """

    def __init__(self, folder: Path, pictures: Mapping[str, bytes]) -> None:
        self._folder, self._pictures = folder, pictures
        self.inputs, self.outputs, self.temp = (folder / name for name in ("in", "out", "tmp"))
        for each in (self.inputs, self.outputs, self.temp):
            each.mkdir(mode=0o700)
        for name, data in pictures.items():
            (self.inputs / name).write_bytes(data)
        self._open = {
            path: os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (self.inputs, self.outputs)
        }

    def close(self) -> None:
        """Closes the folders."""
        while self._open:
            os.close(self._open.popitem()[1])

    def check(self) -> None:
        """Looks at all but the answers.

        Raises:
            WroteOutside: something lies beside ``out``, or the pictures are no longer what they were.
        """
        try:
            beside = {path.name for path in self._folder.iterdir()} - {"in", "out", "tmp"}
        except OSError as error:
            raise WroteOutside(
                f"The command's folder is gone or closed ({error.strerror}).", REMEDY
            ) from error
        _refuse(beside, "beside its output folder")
        for path, handle in self._open.items():
            if not _same(path, handle):
                raise WroteOutside(
                    f"The command has put another {path.name!r} in place of its folder.", REMEDY
                )
        _refuse(_names(self._open[self.inputs]) - set(self._pictures), "in its input folder")
        for name, data in self._pictures.items():
            try:
                left: bytes | None = _content(self._open[self.inputs], name, len(data))
            except OSError:  # gone, or a link by now: changed either way
                left = None
            if left != data:
                raise WroteOutside(f"The command has changed the picture {name} in its input folder.", REMEDY)

    def answer(self, name: str, most: int) -> bytes:
        """The mask ``name`` in ``out``; what follows ``most`` bytes is cut off, but for one.

        Raises:
            NothingWritten: it is not there.
            UnreadableAnswer: it is empty, or may not be read.
            WroteOutside: it is a link or no file.
        """
        try:
            data = _content(self._open[self.outputs], name, most)
        except FileNotFoundError as error:
            found = _names(self._open[self.outputs])
            there = _shown(found) or "nothing"
            raise NothingWritten(
                f"The command ended well and left no {name}; in its output folder is {there}"
                f"{f' and {len(found) - _SHOWN} more' if len(found) > _SHOWN else ''}.",
                "Let it write a mask for each picture, of the same number, as .png.",
            ) from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise WroteOutside(f"The command has left a link as {name}.", REMEDY) from error
            raise UnreadableAnswer(
                f"{name} cannot be read ({error.strerror}).", "Let the command leave it readable."
            ) from error
        if data is None:
            raise WroteOutside(f"What the command has left as {name} is no plain file of its own.", REMEDY)
        if not data:
            raise UnreadableAnswer(f"The command has left {name} empty.", "Look at the command.")
        return data


def _names(folder: int) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}


def _refuse(names: set[str], where: str) -> None:
    if names:
        raise WroteOutside(f"The command has left {_shown(names)} {where}.", REMEDY)


def _shown(names: set[str]) -> str:
    return ", ".join(repr(name[:_LETTERS]) for name in sorted(names)[:_SHOWN])


def _same(path: Path, handle: int) -> bool:
    try:
        found = path.lstat()
    except OSError:  # gone is not the same
        return False
    return os.path.samestat(found, os.fstat(handle))


def _content(folder: int, name: str, most: int) -> bytes | None:
    """The first ``most`` + 1 bytes of a plain file; None for what is none, or has other names elsewhere."""
    # NONBLOCK: the opening of a FIFO would wait for a writer.
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(most + 1)
    finally:
        os.close(handle)
