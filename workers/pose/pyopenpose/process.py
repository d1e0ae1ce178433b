"""One process in which OpenPose runs, seen from outside: started, asked, and killed when it takes too long.

The other end is ``workers.pose.pyopenpose.child``.
"""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from broker.errors import MissingDependency
from workers.contracts import Image
from workers.errors import ModelMismatch
from workers.pose.pyopenpose import child
from workers.pose.pyopenpose.wire import Wire

log = logging.getLogger(__name__)

KILL_SECONDS = 10.0
"""Until a killed process has to be gone."""
STDERR_LINES = 20
STDERR_BYTES = 1000
"""Kept of each line."""
MAX_ANSWER_BYTES = 1 << 20
"""Of one answer: 3,400 people. More is noise that got into the pipe."""
BUILD_IT = (
    "Build OpenPose with BUILD_PYTHON and name the folder of its Python module in the option python_path "
    "(and the Python it was built for in the option python), or use the model openpose-body25, which needs "
    "only OpenPose's weights."
)


class ProcessLost(Exception):
    """The process ended, or was killed at its deadline; the text says how, with the last of what it said."""


class FrameRefused(Exception):
    """OpenPose answered a frame with an error and goes on."""


@dataclass(frozen=True)
class Starting:
    """How a process is started.

    Attributes:
        python: the interpreter for which OpenPose's module was built; "" for ours.
        python_path: folder of the module; "" for one that is installed.
        flags: OpenPose's, by name.
        threads: of the CPU build.
    """

    python: str
    python_path: str
    flags: dict[str, str | int | float | bool]
    threads: int


class OpenPoseProcess:
    """A running process. Ends with this object, with this process, or when ``close`` is called.

    Args:
        starting: how.
        seconds: until it has to be ready.

    Raises:
        MissingDependency: the interpreter or OpenPose's module is not here.
        ProcessLost: it did not come up.
    """

    def __init__(self, starting: Starting, seconds: float) -> None:
        self.frames, self.owner = 0, os.getpid()
        self._process = _spawn(starting)
        self.pid = self._process.pid
        assert self._process.stdin is not None and self._process.stdout is not None
        self._wire = Wire(self._process.stdin, self._process.stdout)
        self._last_lines: deque[str] = deque(maxlen=STDERR_LINES)
        arguments = (self._process.stderr, self._last_lines)
        self._listener = threading.Thread(target=_listen, args=arguments, daemon=True)
        self._listener.start()
        self.close = weakref.finalize(self, _end, self._process, self.owner)
        try:
            self._start(starting, seconds)
        except BaseException:
            self.close()
            raise

    def ask(self, image: Image, seconds: float) -> NDArray[np.float32]:
        """The people in ``image`` (H x W x 3 uint8, RGB): N x 25 x 3 float32: x, y in pixels, confidence.

        After any exception but ``FrameRefused`` close it: a late answer would be taken for that to the next
        frame.

        Raises:
            ProcessLost: it ended, or did not answer within ``seconds``.
            FrameRefused: OpenPose failed on this frame and goes on.
            ModelMismatch: OpenPose answers with another skeleton than BODY_25.
        """
        frame = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        with self._deadline(seconds) as deadline:
            self._wire.write(child.FRAME.pack(*frame.shape[:2]), deadline)
            self._wire.write(frame.data, deadline)
            kind, data = self._next_answer(deadline)
        self.frames += 1
        if kind == child.FAILED:
            raise FrameRefused(_text(data))
        if kind == child.REFUSED:
            raise _other_skeleton(_text(data).partition(":")[2])
        return np.frombuffer(data, np.float32).reshape(-1, child.PARTS, 3).copy()

    def _start(self, starting: Starting, seconds: float) -> None:
        told = {"python_path": starting.python_path, "flags": starting.flags, "parent": os.getpid()}
        with self._deadline(seconds) as deadline:
            self._wire.write(json.dumps(told).encode() + b"\n", deadline)
            kind, data = self._next_answer(deadline)
        if kind == child.REFUSED:
            why, _, words = _text(data).partition(":")
            if why == child.NOT_HERE:
                raise MissingDependency(f"OpenPose's Python module cannot be imported: {words}.", BUILD_IT)
            raise ProcessLost(f"OpenPose did not start: {words}{self._said()}")
        if kind != child.READY:
            raise ProcessLost(f"the process is not ours, it says {kind + data[:80]!r}{self._said()}")
        try:
            facts = json.loads(data)
        except ValueError as error:
            raise ProcessLost(f"its first answer {data[:80]!r} cannot be read{self._said()}") from error
        log.info("OpenPose %s runs in process %d (%s)", facts["version"], self.pid, facts["file"])
        if facts["leaks"]:
            log.info("this OpenPose takes references of None away (as 1.7.0 does); they are given back")

    def _next_answer(self, deadline: float) -> tuple[bytes, bytes]:
        while True:
            kind, length = child.ANSWER.unpack(self._wire.read(child.ANSWER.size, deadline))
            if length > MAX_ANSWER_BYTES:
                raise BrokenPipeError
            data = self._wire.read(length, deadline)
            if kind != child.WARNING:
                return kind, data
            log.warning("OpenPose: %s", _text(data))

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[float]:
        """Gives the time at which a wait on the pipe has to end; one that fails ends the process."""
        try:
            yield time.monotonic() + seconds
        except TimeoutError as error:
            how = f"did not answer within {seconds:g} s"
            raise ProcessLost(f"OpenPose's process {how}{self._said()}") from error
        except OSError as error:
            raise ProcessLost(f"OpenPose's process {self._ending()}{self._said()}") from error

    def _ending(self) -> str:
        code = _kill(self._process)  # does not change how a process ends that has closed its pipe by ending
        if code is None:
            return f"was killed and has not ended in {KILL_SECONDS:g} s"
        return f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with status {code}"

    def _said(self) -> str:
        """The end of its standard error, where OpenPose's own words go too."""
        _kill(self._process)
        self._listener.join(timeout=5)
        return ": " + " / ".join(self._last_lines) if self._last_lines else ", without a word"


def _spawn(starting: Starting) -> "subprocess.Popen[bytes]":
    python = starting.python or sys.executable
    program = str(Path(child.__file__).resolve())
    # OpenPose sees none of our settings, and with them no passwords.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HARDPOSE_")}
    try:
        return subprocess.Popen(  # noqa: S603 - the user's Python and our own program, no shell
            [python, program],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, "OMP_NUM_THREADS": str(starting.threads)},
            start_new_session=True,
        )
    except OSError as error:
        raise MissingDependency(
            f"The Python {python}, in which OpenPose is to run, cannot be started: {error.strerror}.",
            "Correct the option python of the model pyopenpose, or leave it empty for hardpose's own.",
        ) from error


def _listen(pipe: io.FileIO, last_lines: "deque[str]") -> None:
    with io.BufferedReader(pipe) as lines:
        while line := lines.readline(STDERR_BYTES):
            text = line.decode("utf-8", "replace").rstrip()
            log.debug("OpenPose says: %s", text)
            if text:
                last_lines.append(text)


def _end(process: "subprocess.Popen[bytes]", owner: int) -> None:
    """Kills the process, unless this is a fork of its owner."""
    if os.getpid() != owner:
        return
    _kill(process)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _kill(process: "subprocess.Popen[bytes]") -> int | None:
    """Its exit status; None when it does not end, as one may not that hangs in the GPU's driver."""
    process.kill()
    try:
        return process.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        log.warning("OpenPose's process %d was killed and has not ended: see the GPU's driver", process.pid)
        return None


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _other_skeleton(parts: str) -> ModelMismatch:
    return ModelMismatch(
        f"OpenPose answers with {parts} instead of the {child.PARTS} of BODY_25; the full-body rule needs "
        "their toes.",
        "Set model_pose BODY_25, and give OpenPose the model folder that holds it (option model_folder).",
    )
