"""A stand-in for OpenPose's Python module: the same API, and on request the same faults.

``install`` lays it out as ``openpose/pyopenpose.py`` in a folder. The blue of a frame's first pixel says what
is in it (1 or 2: so many people; 99: the fault; else nobody), the variables ``FAKE_OPENPOSE_*`` what that is:

* ``EMPTY``: what nobody looks like: none, leak (None, uncounted, as in 1.7.0), or another name in ``EMPTY``
* ``FAULT``: what the frame 99 does: segv, abort, exit, hang, runtime_error, false, out_of_memory
* ``ONCE``: a file; the fault happens only while it is not there, and makes it
* ``OLD``: is as before 1.7: takes a list, and ``emplaceAndPop`` gives nothing back
* ``PARTS``: of the skeleton; ``NOISE``: bytes printed with each frame; ``NOTES``: a file of JSON lines
* ``START``: fails to start: runtime_error, exit, segv, hang, out_of_memory
"""

import json
import time
from pathlib import Path

import psutil

MODULE = '''
import ctypes, json, os, signal, sys, time
import numpy as np


def _asked(name, default=""):
    return os.environ.get("FAKE_OPENPOSE_" + name, default)


NOTES = open(_asked("NOTES") or os.devnull, "a", buffering=1)


def _note(**facts):
    NOTES.write(json.dumps({"pid": os.getpid(), **facts}) + chr(10))


def _die(how):
    if how == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "abort":
        os.abort()
    if how == "exit":
        sys.stderr.write("ERROR: unknown command line flag" + chr(10))
        sys.stderr.flush()
        os._exit(1)
    if how == "out_of_memory":
        os.write(2, b"Check failed: error == cudaSuccess (2 vs. 0)  out of memory" + bytes([10]))
        os.abort()
    if how == "hang":
        time.sleep(3600)
    if how == "runtime_error":
        raise RuntimeError("Error: the network could not be reshaped")


class ThreadManagerMode:
    Asynchronous = 1


class VectorDatum:
    def __init__(self, data):
        self.data = list(data)


class Datum:
    def __init__(self):
        self.cvInputData = None
        self._people = None

    @property
    def poseKeypoints(self):
        if self._people is not None:
            return self._people
        how = _asked("EMPTY", "none")
        if how == "leak":
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(None))
            return None
        parts = int(_asked("PARTS", "25"))
        return {
            "none": None,
            "scalar": np.array(2.0, np.float32),
            "flat": np.zeros((0,), np.float32),
            "zero_people": np.zeros((0, parts, 3), np.float32),
            "zeros": np.zeros((2, parts, 3), np.float32),
            "minus_one": np.full((1, parts, 3), -1, np.float32),
            "minus_one_scalar": np.array(-1, np.float32),
            "nan": np.full((1, parts, 3), np.nan, np.float32),
            "two_dimensions": np.ones((parts, 3), np.float32),
            "text": "nobody",
        }[how]


class WrapperPython:
    def __init__(self, mode=1):
        assert mode == 1
        self._flags = None

    def configure(self, flags):
        assert all(isinstance(name, str) for name in flags)
        self._flags = flags
        _note(flags=flags, path=sys.path, settings=[n for n in os.environ if n.startswith("HARDPOSE_")])

    def start(self):
        print("Starting OpenPose Python Wrapper...", flush=True)
        _die(_asked("START"))

    def emplaceAndPop(self, data):
        if _asked("OLD"):
            (datum,) = data
            self._work(datum)
            return None
        assert type(data) is VectorDatum, "a segmentation fault since 1.7"
        return self._work(*data.data)

    def _work(self, datum):
        image = datum.cvInputData
        assert image.dtype == np.uint8 and image.ndim == 3 and image.flags.c_contiguous
        noise = int(_asked("NOISE", "0"))
        if noise:
            os.write(1, b"x" * noise + bytes([10]))
            os.write(2, b"y" * noise + bytes([10]))
            print("auto-detecting", flush=True)
        blue, green, red = (int(v) for v in image[0, 0])
        _note(frame=blue, green=green, red=red, refs=sys.getrefcount(None))
        if blue == 99 and not (_asked("ONCE") and os.path.exists(_asked("ONCE"))):
            if _asked("ONCE"):
                open(_asked("ONCE"), "w").close()
            if _asked("FAULT") == "false":
                return False
            _die(_asked("FAULT"))
        if blue in (1, 2):
            datum._people = people(blue, image.shape)
        return True


if _asked("OLD"):
    del VectorDatum, ThreadManagerMode


def people(count, shape):
    """Person i: point p at x = 2 p + i, y = p + 1, confidence 1.05 (the best one last), point 3 absent."""
    parts = int(_asked("PARTS", "25"))
    found = np.zeros((count, parts, 3), np.float32)
    for i in range(count):
        for p in range(parts):
            found[i, p] = (2 * p + i, p + 1, 1.05 if i == count - 1 else 0.5)
        found[i, 3] = 0
    return found
'''


def install(folder: Path) -> str:
    """Lays the package out; returns the folder for the option ``python_path``."""
    package = folder / "openpose"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from . import pyopenpose as pyopenpose\n")
    (package / "pyopenpose.py").write_text(MODULE)
    return str(folder)


def notes(file: Path) -> list[dict[str, object]]:
    """What the fake has noted, in order."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def gone(pid: int, seconds: float = 60) -> bool:
    """Whether the process ends within ``seconds``; one that waits to be buried has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False
