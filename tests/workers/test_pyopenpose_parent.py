"""OpenPose's process and the one that started it: the end of either, and a real worker between them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import fake_openpose
import numpy as np
import psutil
import pytest
from fake_openpose import gone
from hardpose_process import hardpose, only_job
from make_video import write_video

from api.exit_codes import ExitCode
from workers.compute import Compute
from workers.models import Weights
from workers.options import with_options
from workers.pose.pyopenpose.model import PyOpenPose

ONE, FAULT = 1, 99


class NoWeights(Weights):
    """It must not ask for any."""


PARENT = """
import json, os, signal, sys
import numpy as np
from workers.compute import Compute
from workers.options import with_options
from workers.pose.pyopenpose.model import PyOpenPose

model = PyOpenPose(with_options(PyOpenPose.default_spec(), json.loads(sys.argv[1])), None, Compute())
model.load()
print(model.pid, flush=True)
image = np.zeros((32, 32, 3), np.uint8)
image[0, 0, 2] = int(sys.argv[2])
model.find_people([image])
print("answered", flush=True)
if sys.argv[3] == "stay":
    signal.pause()
"""


def start_parent(folder: str, shows: int, then: str) -> tuple["subprocess.Popen[str]", int]:
    """A process that uses the model; returns it and the number of OpenPose's process."""
    line = [sys.executable, "-c", PARENT, json.dumps({"python_path": folder}), str(shows), then]
    parent = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process that hangs outlives its parent")
@pytest.mark.parametrize("shows", [ONE, FAULT])  # it waits for a frame; it hangs
def test_it_ends_with_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shows: int) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_FAULT", "hang")
    parent, pid = start_parent(fake_openpose.install(tmp_path / "build"), shows, "stay")
    assert parent.stdout is not None
    if shows == ONE:
        assert parent.stdout.readline() == "answered\n"
    assert psutil.pid_exists(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate(timeout=60)
    assert gone(pid)


def test_it_ends_when_python_ends(tmp_path: Path) -> None:
    parent, pid = start_parent(fake_openpose.install(tmp_path / "build"), ONE, "end")
    out, err = parent.communicate(timeout=120)
    assert (parent.returncode, out, err) == (0, "answered\n", "")
    assert gone(pid)


def test_a_fork_starts_its_own(tmp_path: Path) -> None:
    """Two that ask through one pipe would get each other's answers."""
    options = {"python_path": fake_openpose.install(tmp_path / "build")}
    model = PyOpenPose(with_options(PyOpenPose.default_spec(), options), NoWeights(), Compute())
    image = np.zeros((32, 32, 3), np.uint8)
    image[0, 0, 2] = ONE
    model.load()
    first = model.pid
    fork = os.fork()
    if fork == 0:
        fine = len(model.find_people([image])[0]) == 1 and model.pid != first
        model.close()
        os._exit(0 if fine else 1)
    assert os.waitpid(fork, 0)[1] == 0
    assert len(model.find_people([image])[0]) == 1
    assert model.pid == first
    model.close()


@pytest.mark.system
def test_a_real_worker_finds_nobody_with_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    folder = fake_openpose.install(tmp_path / "build")
    env = {
        "HARDPOSE_POSE_MODEL": "pyopenpose",
        "HARDPOSE_PLACEMENT": "pose+mask+me+compare",
        "HARDPOSE_POSE_OPTIONS": json.dumps({"python_path": folder}),
        "FAKE_OPENPOSE_NOTES": str(notes),
        "FAKE_OPENPOSE_EMPTY": "leak",
    }
    video = write_video(tmp_path / "ramp.mp4", range(0, 1000, 100))
    ended = hardpose("run", video, "--out", tmp_path / "out", env=env)
    assert ended.code == ExitCode.OK, ended.stderr
    funnel = only_job(tmp_path / "out" / "state").funnel().check()
    frames = [note for note in fake_openpose.notes(notes) if "frame" in note]
    assert funnel.examined == len(frames) > 0
    assert gone(int(str(frames[0]["pid"])))
