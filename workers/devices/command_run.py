"""One run of a device's command: started without a shell, heard, and ended with all that it has started."""

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.printable import printable
from workers.devices.description import DeviceDescription
from workers.devices.errors import CommandFailed, DeviceAway, TooLate

log = logging.getLogger(__name__)

GRACE_SECONDS = 1.0
"""Between SIGTERM and SIGKILL."""
LISTEN_SECONDS = 0.2
"""For the last words of a command that has ended."""
HEARD_BYTES = 4096
"""Kept of the end of what a command says."""
QUOTED = 300
"""Characters of it that an error quotes."""
_CHUNK = 65536


@dataclass(frozen=True)
class Command:
    """What is started.

    Attributes:
        words: program and arguments.
        folder: in which it runs.
        temp_dir: its ``TMPDIR``.
        time_limit: seconds until it has to have ended.
    """

    words: tuple[str, ...]
    folder: Path
    temp_dir: Path
    time_limit: float


def run(command: Command, description: DeviceDescription) -> None:
    """Runs the command; returns when it has ended well, and nothing of it runs any more.

    Raises:
        TooLate: it did not end in time; it has been killed.
        CommandFailed: it ended with another status than 0, or by a signal; quotes its last words.
        DeviceAway: it could not be started, or said by its status that the device is away.
    """
    with _started(command, description) as running:
        if not running.wait(command.time_limit):
            running.end()
            raise TooLate(
                f"The command did not end within {command.time_limit:g} s{running.words()}.",
                f"Look at the device, or allow more: {description.place('time_limit')}.",
            )
        running.end()
        status, said = running.process.returncode, running.words()
    if status == os.EX_TEMPFAIL:
        raise DeviceAway(f"The command says that the device is away{said}.", "Switch it on, or connect it.")
    if status:
        raise CommandFailed(f"The command {_ending(status)}{said}.", "Look at the command and its device.")


class Running:
    """A command that has been started."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._ended, self._deaf = threading.Event(), threading.Event()
        self._heard = bytearray()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._listen, self._watch)]
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether it ended within ``seconds``."""
        return self._ended.wait(seconds)

    def end(self) -> None:
        """Ends it and all of its process group: asks, then kills. A second call does nothing."""
        if self.process.returncode is not None:
            return
        if not self._ended.is_set():
            self._signal(signal.SIGTERM)
            self._ended.wait(GRACE_SECONDS)
        # Until it is waited for, nobody else can have its number, and with that its group's.
        self._signal(signal.SIGKILL)
        self._threads[1].join()
        self.process.wait()
        # What has left the group (a server that `adb` starts) keeps the pipe: it is not waited for.
        self._threads[0].join(LISTEN_SECONDS)
        self._deaf.set()

    def words(self) -> str:
        """The end of what it said, as a part of a sentence; empty if it was silent."""
        lines = printable(" | ".join(bytes(self._heard).decode("utf-8", "replace").split("\n")).strip(" |"))
        return f"; its last words: {lines[-QUOTED:]!r}" if lines else ""

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe, selectors.DefaultSelector() as waiting:
            waiting.register(pipe, selectors.EVENT_READ)
            while not self._deaf.is_set():
                if not waiting.select(LISTEN_SECONDS):
                    continue
                if not (chunk := os.read(pipe.fileno(), _CHUNK)):
                    return
                self._heard += chunk
                del self._heard[:-HEARD_BYTES]

    def _watch(self) -> None:
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        self._ended.set()

    def _signal(self, chosen: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all gone, or only the dead are left
            os.killpg(self.process.pid, chosen)


@contextmanager
def _started(command: Command, description: DeviceDescription) -> Iterator[Running]:
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own words, a list of arguments, no shell
            command.words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=command.folder,
            env=_environment(command.temp_dir),
            start_new_session=True,
        )
    except OSError as error:
        raise DeviceAway(
            f"The command of the device {description.name} cannot be started ({error.strerror}).",
            f"Look at {description.place('command.run')}.",
        ) from error
    running = Running(process)
    try:
        yield running
    finally:
        running.end()


def _environment(temp_dir: Path) -> dict[str, str]:
    """That of this process, without hardpose's settings: the broker's password is one of them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HARDPOSE_")}
    return {**kept, "TMPDIR": str(temp_dir)}


def _ending(status: int) -> str:
    if status > 0:
        return f"ended with the status {status}"
    known = -status in set(signal.Signals)
    return f"was ended by {signal.Signals(-status).name if known else f'signal {-status}'}"
