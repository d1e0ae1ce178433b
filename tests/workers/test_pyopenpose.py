"""The model pyopenpose against a stand-in for OpenPose's module: what comes out, and what it survives."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fake_openpose
import numpy as np
import pytest
from fake_openpose import gone
from patience import longer_and_longer, until
from pyopenpose_models import FAULT, NOBODY, ONE, TWO, Open, accounts, picture

from workers.errors import ImageFailed, ModelMismatch, OutOfMemory
from workers.models import POSE, model_class
from workers.pose.pyopenpose.model import PyOpenPose
from workers.pose.pyopenpose.options import PyOpenPoseOptions
from workers.pose.pyopenpose.restarting import OpenPoseFailed

# --- what comes out ------------------------------------------------------------------------------


def test_people_in_body_25_best_first(open_model: Open) -> None:
    (people, nobody) = open_model().find_people([picture(TWO), picture(NOBODY)])
    assert nobody == []
    assert [round(person.score, 2) for person in people] == [0.96, 0.48]  # 24 points of 25
    best = people[0]
    assert (best.keypoints.shape, best.keypoints.dtype) == ((25, 3), np.float32)
    assert best.keypoints[4].tolist() == [9, 5, 1]  # OpenPose's 1.05 is cut to 1
    assert best.keypoints[3].tolist() == [0, 0, 0]  # absent
    x0, y0, x1, y1 = best.box
    assert (0 <= x0 <= 1 and 0 <= y0 <= 1) and (x1 == 40 and 25 <= y1 <= 32)


def test_frames_arrive_as_bgr_of_any_layout(open_model: Open, notes: Path) -> None:
    model = open_model()
    image = picture(ONE)
    strided = np.asfortranarray(np.concatenate([image, image], axis=1))[:, :40]
    assert [len(people) for people in model.find_people([image, strided])] == [1, 1]
    seen = [note for note in fake_openpose.notes(notes) if "frame" in note]
    assert [(note["frame"], note["green"], note["red"]) for note in seen] == [(ONE, 22, 11)] * 2


def test_openpose_is_configured_and_sees_no_settings_of_ours(
    open_model: Open, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARDPOSE_BROKER_URL", "redis://:secret@127.0.0.1:1/0")
    options = {
        "model_folder": "/models",
        "net_resolution": "-1x160",
        "flags": "scale_number=2, scale_gap=0.25",
    }
    open_model(**options, number_people_max=3).load()
    (note,) = fake_openpose.notes(notes)
    assert note["flags"] == {
        "model_folder": "/models", "net_resolution": "-1x160", "number_people_max": 3, "scale_number": "2",
        "scale_gap": "0.25", "model_pose": "BODY_25", "render_pose": 0,
    }  # fmt: skip
    assert note["settings"] == []
    # Our own folder is called like OpenPose's module, and must not stand in for it.
    assert not [entry for entry in note["path"] if str(entry).endswith("workers/pose/pyopenpose")]  # type: ignore[attr-defined]


def test_fragments_are_no_people(open_model: Open) -> None:
    # The second person has 18 points of 0.5 besides those of its feet.
    assert accounts(open_model(person_min_parts=19, person_min_confidence=0.6), [ONE, TWO]) == [1, 1]
    assert accounts(open_model(person_min_parts=18, person_min_confidence=0.6), [TWO]) == [2]
    assert accounts(open_model(person_min_parts=19, person_min_confidence=0.5), [TWO]) == [2]


def test_a_build_from_before_1_7_is_asked_with_a_list(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ``emplaceAndPop`` gives nothing back, which is no failure."""
    monkeypatch.setenv("FAKE_OPENPOSE_OLD", "1")
    assert accounts(open_model(), [NOBODY, ONE, TWO]) == [0, 1, 2]


def test_the_description_has_no_weights_and_every_option() -> None:
    spec = model_class(POSE, "pyopenpose").default_spec()
    assert (spec.name, spec.version, spec.weights) == ("pyopenpose", "unknown", ())
    assert set(spec.options) == set(PyOpenPoseOptions.__dataclass_fields__)
    assert PyOpenPose.answers == frozenset(range(25))
    assert not hasattr(PyOpenPose, "card")


# --- nobody, in all its shapes -------------------------------------------------------------------

EMPTY = [
    "none", "leak", "scalar", "flat", "zero_people", "zeros", "minus_one", "minus_one_scalar", "nan",
    "two_dimensions", "text",
]  # fmt: skip


@pytest.mark.parametrize("shape", EMPTY)
def test_nobody_is_nobody(
    open_model: Open, shape: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_EMPTY", shape)
    with caplog.at_level(logging.WARNING):
        assert accounts(open_model(), [NOBODY, ONE, NOBODY]) == [0, 1, 0]
    # What may hide people is said, once.
    warned = shape in ("scalar", "two_dimensions", "text")
    assert [r.getMessage().count("taken as nobody") for r in caplog.records] == [1] * warned


@pytest.mark.parametrize("parts", [18, 15, 135])  # COCO, MPI, BODY_135
def test_another_skeleton_is_refused(open_model: Open, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_PARTS", str(parts))
    model = open_model()
    with pytest.raises(ModelMismatch, match=f"answers with {parts} parts instead of the 25") as caught:
        model.find_people([picture(ONE)])
    assert "model_pose BODY_25" in caught.value.remedy


# --- the leak ------------------------------------------------------------------------------------

LEAKY_READS = 20_000


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="from Python 3.12 on None cannot be deallocated")
def test_without_the_repair_the_leak_ends_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_EMPTY", "leak")
    folder = fake_openpose.install(tmp_path / "build")
    code = (
        f"import sys; sys.path.insert(0, {folder!r})\n"
        "from openpose import pyopenpose as op\n"
        f"for i in range({LEAKY_READS}): op.Datum().poseKeypoints\n"
        "print('survived')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert ended.returncode == -signal.SIGABRT
    assert "deallocating None" in ended.stderr
    assert "survived" not in ended.stdout


def test_with_the_repair_none_keeps_its_references(
    open_model: Open, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_EMPTY", "leak")
    model = open_model(recycle_frames=0)
    image = picture(NOBODY, 32, 32)
    assert sum(len(model.find_people([image])) for _ in range(LEAKY_READS)) == LEAKY_READS
    frames = [note for note in fake_openpose.notes(notes) if "frame" in note]
    assert len(frames) == LEAKY_READS
    assert len({note["pid"] for note in frames}) == 1  # and not a new process now and then
    references = [int(str(note["refs"])) for note in frames]
    # The garbage collector takes some dozens once; the leak would take one with each frame.
    assert max(references) - min(references) < 200
    late = references[-LEAKY_READS // 2 :]
    assert max(late) - min(late) < 10


# --- faults --------------------------------------------------------------------------------------

FRAMES = [NOBODY, ONE, FAULT, TWO, NOBODY]


def patient_models(open_model: Open, fault: str) -> Iterator[PyOpenPose]:
    """One; of those that hang several, more and more patient: a busy machine answers as late as they do."""
    if fault != "hang":
        yield open_model()
        return
    for seconds in longer_and_longer(0.5, times=3):
        yield open_model(frame_seconds=seconds, start_seconds=3 * seconds)


@pytest.mark.parametrize("fault", ["segv", "abort", "exit", "hang", "runtime_error", "false"])
def test_a_frame_that_always_fails_fails_alone(
    open_model: Open, fault: str, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_FAULT", fault)
    for model in patient_models(open_model, fault):
        notes.unlink(missing_ok=True)
        found = accounts(model, FRAMES)
        if found == [0, 1, "failed", 2, 0] or fault != "hang":
            break
    assert found == [0, 1, "failed", 2, 0]
    assert sum(note.get("frame") == FAULT for note in fake_openpose.notes(notes)) == 2


@pytest.mark.parametrize("fault", ["segv", "abort", "exit", "hang", "runtime_error", "false"])
def test_a_frame_that_fails_once_is_tried_again(
    open_model: Open, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_FAULT", fault)
    monkeypatch.setenv("FAKE_OPENPOSE_ONCE", str(tmp_path / "once"))
    for model in patient_models(open_model, fault):
        (tmp_path / "once").unlink(missing_ok=True)
        found = accounts(model, FRAMES)
        if found == [0, 1, 0, 2, 0] or fault != "hang":
            break
    assert found == [0, 1, 0, 2, 0]
    assert (tmp_path / "once").exists()


def test_the_cause_names_the_signal_and_the_last_words(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_FAULT", "segv")
    monkeypatch.setenv("FAKE_OPENPOSE_NOISE", "30")
    with pytest.raises(ImageFailed) as caught:
        open_model().find_people([picture(FAULT)])
    assert "was ended by SIGSEGV" in caught.value.cause
    assert "y" * 30 in caught.value.cause


def test_an_openpose_that_fails_on_every_frame_is_no_matter_of_the_frames(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_FAULT", "runtime_error")
    model = open_model()
    assert accounts(model, [FAULT] * 4) == ["failed"] * 4
    with pytest.raises(OpenPoseFailed, match=r"5 frames in a row.*could not be reshaped"):
        model.find_people([picture(FAULT)])
    assert accounts(model, [FAULT] * 4 + [ONE] + [FAULT] * 4) == ["failed"] * 4 + [1] + ["failed"] * 4


def test_frames_that_exhaust_the_gpu_are_a_matter_of_memory(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_FAULT", "out_of_memory")
    model = open_model()
    assert accounts(model, [FAULT] * 4) == ["failed"] * 4
    with pytest.raises(OutOfMemory) as caught:
        model.find_people([picture(FAULT)])
    assert "net_resolution" in caught.value.remedy


def test_noise_on_its_outputs_is_no_answer(open_model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_OPENPOSE_NOISE", "300000")  # more than a pipe holds, with each frame
    assert accounts(open_model(), [NOBODY, ONE, TWO] * 3) == [0, 1, 2] * 3


class StageStopped(Exception):
    """What a stage's time limit raises in the middle of whatever runs."""


def test_an_answer_that_comes_too_late_is_not_that_of_the_next_frame(
    open_model: Open, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(number: int, frame: object) -> None:
        raise StageStopped

    monkeypatch.setenv("FAKE_OPENPOSE_FAULT", "hang")
    model = open_model()
    model.load()
    first = model.pid

    def stop_when_it_hangs() -> None:
        until(lambda: any(note.get("frame") == FAULT for note in fake_openpose.notes(notes)), "the frame")
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, stop)
    stopper = threading.Thread(target=stop_when_it_hangs)
    try:
        with pytest.raises(StageStopped):
            stopper.start()
            model.find_people([picture(FAULT)])
    finally:
        stopper.join()
        signal.signal(signal.SIGUSR1, before)
    assert gone(first or 0)
    assert accounts(model, [TWO]) == [2]
