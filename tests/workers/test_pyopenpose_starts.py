"""OpenPose's process: starts that fail, and the lives of one after the other."""

import sys
from pathlib import Path

import fake_openpose
import pytest
from fake_openpose import gone
from patience import longer_and_longer
from pyopenpose_models import ONE, Open, accounts

from broker.errors import MissingDependency
from workers.errors import OutOfMemory
from workers.pose.pyopenpose.restarting import OpenPoseFailed


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("runtime_error", "the network could not be reshaped"),
        ("exit", "ended with status 1: .*unknown command line flag"),
        ("segv", "was ended by SIGSEGV"),
        ("hang", "did not answer within {:g} s"),
    ],
)
def test_a_start_that_fails_three_times_says_why(
    open_model: Open, notes: Path, fault: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_START", fault)
    for seconds in longer_and_longer(1.0 if fault == "hang" else 120.0, times=3):
        notes.unlink(missing_ok=True)
        with pytest.raises(OpenPoseFailed, match=words.format(seconds)) as caught:
            open_model(start_seconds=seconds).load()
        if len(fake_openpose.notes(notes)) == 3 or fault != "hang":
            break  # else one was ended before it could note its start
    assert "model_folder" in caught.value.remedy
    assert len(fake_openpose.notes(notes)) == 3


def test_a_gpu_without_room_is_named(open_model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_START", "out_of_memory")
    with pytest.raises(OutOfMemory, match="out of memory"):
        open_model().load()


def test_without_the_module_it_says_how_to_build_it(open_model: Open, tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="No module named 'openpose'") as caught:
        open_model(python_path=str(tmp_path)).load()
    assert "BUILD_PYTHON" in caught.value.remedy
    assert "openpose-body25" in caught.value.remedy


def test_a_python_that_is_not_there_is_named(open_model: Open) -> None:
    with pytest.raises(MissingDependency, match="The Python /no/python"):
        open_model(python="/no/python").load()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (r"read x; printf 'R\005\000\000\000hello'", "cannot be read"),
        (r"read x; printf 'K\005\000\000\000hello'", "is not ours"),
        ("cat $0", "did not start 3 times"),
        ("{python} $1; true", "a script without exec"),
        ("echo no numpy >&2; exit 1", "ended with status 1: no numpy"),
    ],
)
def test_a_python_that_is_none_is_told(open_model: Open, tmp_path: Path, program: str, words: str) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\n" + program.replace("{python}", sys.executable) + "\n")
    script.chmod(0o700)
    with pytest.raises(OpenPoseFailed, match=words):
        open_model(python=str(script)).load()


def test_a_module_alone_is_found_too(open_model: Open, tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    folder.mkdir()
    (folder / "pyopenpose.py").write_text(fake_openpose.MODULE)
    assert accounts(open_model(python_path=str(folder)), [ONE]) == [1]


# --- a process's life ----------------------------------------------------------------------------


def test_a_process_is_replaced_after_its_frames(open_model: Open, notes: Path) -> None:
    assert accounts(open_model(recycle_frames=4), [ONE] * 10) == [1] * 10
    pids = [note["pid"] for note in fake_openpose.notes(notes) if "frame" in note]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [4, 4, 2]


def test_closing_ends_it_and_it_can_be_used_again(open_model: Open) -> None:
    model = open_model()
    model.load()
    first = model.pid
    model.load()
    assert model.pid == first
    model.close()
    assert gone(first or 0)
    assert accounts(model, [ONE]) == [1]
