"""A device behind a command: a folder of pictures goes in, a folder of masks comes out."""

import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from workers.contracts import Image, PersonMap
from workers.devices.answer_pictures import person_map, to_send
from workers.devices.command_run import Command, run
from workers.devices.described_only import DescribedOnly
from workers.devices.description import DeviceDescription
from workers.devices.scratch import Scratch

log = logging.getLogger(__name__)

SUFFIXES = {"png": "png", "jpeg": "jpg"}


class CommandDevice(DescribedOnly):
    """Runs the described command for each batch. Implements ``workers.contracts.Device``.

    The command is split once as a shell would (``shlex``) and started without one, in the folder of the
    description; ``{input_dir}`` and ``{output_dir}`` in its words become two folders, fresh for each call and
    closed to other users. In the first lie ``000.png``, ``001.png`` and so on (``.jpg`` for
    ``frames = "jpeg"``); in the second it has to leave for each a mask of the same number, ``000.png``, 8-bit
    grey, and may leave what else it likes. It ends with 0; with 75 (EX_TEMPFAIL, sysexits.h) it says that the
    device is away. All that it started is ended with it. It sees this process's environment without
    hardpose's own settings, and a ``TMPDIR`` that is removed afterwards.

    What it writes beside the second folder, in the first, or as a link is an error. What it writes elsewhere
    on the disk cannot be seen: run the worker as a user who may write nowhere else.

    Args:
        description: with the connection's ``run``.

    Raises:
        SettingsError: an option of its spec cannot be used.
        DeviceMisdescribed: the command cannot be split, or its program is not there.
    """

    driver = "command"

    def __init__(self, description: DeviceDescription) -> None:
        super().__init__(description)
        self._words = words_of(description)
        self._folder = description.path.parent.absolute()

    def maps(self, images: Sequence[Image]) -> list[PersonMap]:
        """The person map of each image (H x W x 3 uint8 RGB), h x w uint8 in the size of its mask.

        The description's time limit is for each ``batch_size`` images, from the command's start to its end.

        Raises:
            CommandFailed, NothingWritten, UnreadableAnswer, WrongSize, WroteOutside, TooLate: one got no
                usable mask.
            DeviceAway: the program is gone, or ended with 75.
        """
        step = self.batch_size
        return [m for at in range(0, len(images), step) for m in self._call(images[at : at + step])]

    def _call(self, images: Sequence[Image]) -> list[PersonMap]:
        pictures = [to_send(image, self._options) for image in images]
        suffix = SUFFIXES[self._options.frames]
        with _private_folder() as folder:
            scratch = Scratch(folder, {f"{n:03}.{suffix}": sent.data for n, sent in enumerate(pictures)})
            try:
                run(self._command(scratch), self._description)
                scratch.check()
                answers = [
                    scratch.answer(f"{n:03}.png", sent.most_answer_bytes) for n, sent in enumerate(pictures)
                ]
            finally:
                scratch.close()
        return [person_map(a, p, self._options) for a, p in zip(answers, pictures, strict=True)]

    def _command(self, scratch: Scratch) -> Command:
        folders = {"{input_dir}": str(scratch.inputs), "{output_dir}": str(scratch.outputs)}
        return Command(
            words=tuple(_filled(word, folders) for word in self._words),
            folder=self._folder,
            temp_dir=scratch.temp,
            time_limit=self._description.time_limit,
        )


def words_of(description: DeviceDescription) -> tuple[str, ...]:
    """The words of the described command, its program as a path; relative ones as seen from the description.

    Raises:
        DeviceMisdescribed: it cannot be split, or names no program that can be started.
    """
    text = str(description.connection["run"])
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise description.wrong(
            "command.run", f"the command cannot be split into words: {error}.", "Close its quotes."
        ) from error
    name = words[0] if words else ""
    program = shutil.which(description.path.parent / name if os.sep in name else name)
    if not words or program is None:
        raise description.wrong(
            "command.run",
            f"the program {name!r} is not there, or may not be started.",
            "Give its path, absolute or relative to the description, and make it executable (chmod +x).",
        )
    return (str(Path(program).absolute()), *words[1:])


def _filled(word: str, folders: dict[str, str]) -> str:
    for name, folder in folders.items():
        word = word.replace(name, folder)
    return word


@contextmanager
def _private_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hardpose-device-"))  # mode 0700
    try:
        yield folder.resolve()
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:  # the command did it
        return
    except OSError as error:
        log.warning("%s could not be removed whole: %s", folder, error.strerror)
    except RecursionError:  # a thousand folders, one in the other
        line = ["rm", "-rf", "--", str(folder)]
        if subprocess.run(line, check=False).returncode:  # noqa: S603 - a folder of ours
            log.warning("%s could not be removed whole", folder)
