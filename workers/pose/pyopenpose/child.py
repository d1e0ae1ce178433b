"""OpenPose's end of the pipe: a program of its own, because OpenPose may crash, hang, print and leak.

It is run as a file, also by another Python than ours (from 3.8 on): it imports the standard library, numpy
and OpenPose, nothing of hardpose. The other end is ``workers.pose.pyopenpose.process``.

What goes over the pipe, all numbers little-endian:

* to this program: a line of JSON, an object of ``STARTING``'s names; then for each frame ``FRAME`` (height,
  width) and height x width x 3 bytes, BGR;
* from it: ``ANSWER`` (kind, length) and ``length`` bytes: ``READY`` or ``REFUSED`` once, then for each frame
  ``KEYPOINTS`` (float32, N x 25 x 3: x, y, confidence), ``FAILED`` or ``REFUSED`` (text); before any of them
  there may be a ``WARNING`` (text).
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import struct
import sys
from typing import Any

import numpy as np

FRAME = struct.Struct("<II")
ANSWER = struct.Struct("<cI")
READY, REFUSED, KEYPOINTS, FAILED, WARNING = b"R", b"X", b"K", b"F", b"W"
STARTING = ("python_path", "flags", "parent")
"""Folder of the module (or ""), what ``configure`` gets, and the process id of the other end."""
NOT_HERE, FAILED_TO_START, OTHER_SKELETON = "not_here", "failed_to_start", "other_skeleton"
"""Why a start (the first two) or an answer was ``REFUSED``; the text after the colon says more."""

PARTS = 25
"""Of the skeleton BODY_25 (OpenPose documentation, "Pose Output Format")."""
PROBE_READS = 64
PROBE_LOSS = 32
"""A read of an empty attribute takes one reference of None away in a module that leaks."""
PR_SET_PDEATHSIG = 1
OPENPOSE_ERRORS = (RuntimeError, ValueError, IndexError, TypeError, MemoryError, OverflowError)
"""What pybind11 makes of C++ exceptions (pybind11 documentation, "Built-in exception translation")."""


class WrongSkeleton(Exception):
    """OpenPose answers with another number of parts than BODY_25 has."""


def people_of(value: Any) -> tuple[np.ndarray, str]:
    """The people in whatever ``poseKeypoints`` gave, and what was odd about it.

    Nobody looks different in each release: None, an array of 0 or 1 dimensions, (0, 25, 3), zeros, or -1.

    Returns:
        N x 25 x 3 float32, absent points all 0, without people who have no point; and a text, "" for what is
        known.

    Raises:
        WrongSkeleton: the people have another number of parts than 25.
    """
    nobody = np.zeros((0, PARTS, 3), np.float32)
    if value is None:
        return nobody, ""
    try:
        array = np.array(value, np.float32)
    except (TypeError, ValueError):
        return nobody, f"poseKeypoints is no array but {type(value).__name__}; taken as nobody"
    if array.size == 0 or not (array > 0).any():
        return nobody, ""
    if array.ndim != 3 or array.shape[2] != 3:
        return nobody, f"poseKeypoints has the shape {array.shape}; taken as nobody"
    if array.shape[1] != PARTS:
        raise WrongSkeleton(f"{array.shape[1]} parts")
    array[~np.isfinite(array).all(axis=2) | ~(array[:, :, 2] > 0)] = 0
    return np.ascontiguousarray(array[(array[:, :, 2] > 0).any(axis=1)]), ""


class Reader:
    """Reads attributes of a Datum, and gives None back the references that the module takes from it.

    OpenPose 1.7.0 returns None for an empty array without counting it (mended in June 2022): after some
    thousand frames without people, Python ends with "deallocating None". From 3.12 on None is not counted.
    """

    def __init__(self, openpose: Any) -> None:
        datum = openpose.Datum()
        before = sys.getrefcount(None)
        for _ in range(PROBE_READS):
            datum.poseKeypoints  # noqa: B018 - the read is the probe
        lost = before - sys.getrefcount(None)
        self.leaks = lost > PROBE_LOSS
        for _ in range(lost if self.leaks else 0):
            _keep_none()

    def keypoints(self, datum: Any) -> Any:
        """``datum.poseKeypoints``, read once."""
        value = datum.poseKeypoints
        if value is None and self.leaks:
            _keep_none()
        return value


def _keep_none() -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))


class OpenPose:
    """OpenPose's wrapper, started.

    Args:
        module: ``pyopenpose``.
        flags: what ``configure`` gets: texts, numbers and truth values, by name.
    """

    def __init__(self, module: Any, flags: dict[str, Any]) -> None:
        self._module = module
        modes = getattr(module, "ThreadManagerMode", None)
        self._wrapper = module.WrapperPython(modes.Asynchronous) if modes else module.WrapperPython()
        self._wrapper.configure(flags)
        self._wrapper.start()
        self.reader = Reader(module)

    def look(self, image: np.ndarray) -> Any:
        """``poseKeypoints`` of ``image``, as they come.

        Args:
            image: H x W x 3 uint8, BGR, contiguous: OpenPose keeps a bare pointer and knows no strides.

        Raises:
            RuntimeError: OpenPose failed, or gave the frame back without a word.
        """
        datum = self._module.Datum()
        datum.cvInputData = image
        # Since 1.7 a plain list is a segmentation fault, and before it there was no VectorDatum. Of the three
        # ways in, this one alone does not free what Python still holds.
        many = getattr(self._module, "VectorDatum", list)
        # Before 1.7 it gave nothing back.
        if self._wrapper.emplaceAndPop(many([datum])) is False:
            raise RuntimeError("emplaceAndPop returned False")
        return self.reader.keypoints(datum)


class Pipe:
    """Our end of the pipe; taken from standard input and output, which OpenPose may use as it likes."""

    def __init__(self) -> None:
        self._source: io.BufferedReader = os.fdopen(os.dup(0), "rb")
        self._sink: io.BufferedWriter = os.fdopen(os.dup(1), "wb")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        os.close(nothing)

    def starting(self) -> dict[str, Any]:
        """The first line."""
        line: dict[str, Any] = json.loads(self._source.readline())
        return line

    def frame(self) -> np.ndarray | None:
        """The next frame, H x W x 3 uint8, BGR; None at the end."""
        head = self._source.read(FRAME.size)
        if len(head) < FRAME.size:
            return None
        height, width = FRAME.unpack(head)
        data = bytearray(height * width * 3)
        if self._source.readinto(data) < len(data):
            return None
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def answer(self, kind: bytes, data: bytes) -> None:
        """Sends one answer."""
        self._sink.write(ANSWER.pack(kind, len(data)) + data)
        self._sink.flush()


def find_module() -> Any:
    """OpenPose's module, from its package (since 1.5) or alone.

    Raises:
        ImportError: neither can be imported; says why for both.
    """
    try:
        from openpose import pyopenpose
    except ImportError as first:
        try:
            import pyopenpose
        except ImportError as second:
            words = f"from openpose import pyopenpose: {first}; import pyopenpose: {second}"
            raise ImportError(words) from second
    return pyopenpose


def start(pipe: Pipe) -> OpenPose | None:
    """Starts OpenPose as the first line says, and tells how that went; None: it did not."""
    told = pipe.starting()
    end_with(told["parent"])
    if told["python_path"]:
        sys.path.insert(0, told["python_path"])
    try:
        module = find_module()
    except ImportError as error:
        pipe.answer(REFUSED, f"{NOT_HERE}:{error}".encode())
        return None
    try:
        running = OpenPose(module, told["flags"])
    except (*OPENPOSE_ERRORS, AttributeError) as error:
        pipe.answer(REFUSED, f"{FAILED_TO_START}:{type(error).__name__}: {error}".encode())
        return None
    facts = {
        "version": str(getattr(module, "__version__", "") or "unknown"),
        "file": str(getattr(module, "__file__", "")),
        "leaks": running.reader.leaks,
    }
    pipe.answer(READY, json.dumps(facts).encode())
    return running


def end_with(parent: int) -> None:
    """Has Linux kill this process with its parent, also while OpenPose hangs. The pipe's end does so too."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        words = "the process that started this one has ended, or the Python given is a script without exec\n"
        sys.stderr.write(words)
        sys.stderr.flush()
        os._exit(1)


def look(openpose: OpenPose, image: np.ndarray, warned: list[str]) -> list[tuple[bytes, bytes]]:
    """The answers to one frame; a warning that stands in ``warned`` is not given again."""
    try:
        people, odd = people_of(openpose.look(image))
    except WrongSkeleton as error:
        return [(REFUSED, f"{OTHER_SKELETON}:{error}".encode())]
    except OPENPOSE_ERRORS as error:
        return [(FAILED, f"{type(error).__name__}: {error}".encode())]
    answers = [(KEYPOINTS, people.tobytes())]
    if odd and odd not in warned:
        warned.append(odd)
        answers.insert(0, (WARNING, odd.encode()))
    return answers


def main() -> None:
    """Works until its pipe ends."""
    # A file that is run puts its own folder first, and a module there is not what OpenPose means.
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - paths as sys.path has them
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != folder]  # noqa: PTH100
    pipe = Pipe()
    openpose = start(pipe)
    warned: list[str] = []
    image = pipe.frame() if openpose else None
    while openpose and image is not None:
        for kind, data in look(openpose, image, warned):
            pipe.answer(kind, data)
        image = pipe.frame()
    # At once: OpenPose's threads and CUDA's destructors are known to hang or crash at the end.
    os._exit(0)


if __name__ == "__main__":
    main()
