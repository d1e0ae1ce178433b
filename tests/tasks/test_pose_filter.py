import logging
import tempfile
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_fakes import (
    FakeCandidate,
    Scripted,
    candidates,
    make_frames,
    make_segment,
    person,
    picture,
    reader,
    run_pose,
    standing,
)

from broker.errors import ArtifactMissing, DiskFull, WeightsError
from broker.messages import SegmentResult, Verdict
from broker.recipe import Sampling, Stage
from tasks.crops import sharpness
from tasks.faults import BadModelOutput
from tasks.mask_generation import MaskGeneration
from tasks.pose_filter import PoseFilter
from workers.downloads.errors import FrameUndecodable

UNDECODABLE = FrameUndecodable("The frame at 0 ms cannot be decoded.", "Nothing to do.")


@pytest.fixture
def frames(tmp_path):
    return make_frames(tmp_path)


def test_a_whole_person_alone_is_kept_with_every_number(frames):
    result = run_pose(frames, candidates(1), [[person()]])
    (keeper,) = result.keepers
    assert result.examined == 1
    assert keeper.verdict is None
    assert frames.image(keeper.frame_key).shape == picture().shape
    assert keeper.measures == {
        "people": 1.0,
        "person_score": 0.95,
        "sharpness": pytest.approx(keeper.measures["sharpness"]),
        "head_confidence": pytest.approx(0.9),
        "right_wrist_confidence": pytest.approx(0.9),
        "left_wrist_confidence": pytest.approx(0.9),
        "left_toes_confidence": pytest.approx(0.9),
        "right_toes_confidence": pytest.approx(0.9),
        "frame_margin": pytest.approx(18 / 92),
    }
    assert result.seconds[Stage.POSE] > 0


@pytest.mark.parametrize(
    ("people", "verdict", "value"),
    [
        ([], Verdict.NO_PERSON, 0),  # empty frame
        ([person(), person()], Verdict.SEVERAL_PEOPLE, 2),  # a bystander
        ([person(standing(p4=0.1))], Verdict.NO_HANDS, 0.1),  # hand hidden
        ([person(standing(shift=(0, 20)))], Verdict.CUT_BY_FRAME, -2 / 92),  # feet below the frame
        ([person(standing() * np.float32([1, np.nan, 1]))], Verdict.NO_HEAD, 0),  # a network gone mad
    ],
)
def test_a_drop_names_its_verdict_and_value(frames, people, verdict, value):
    (drop,) = run_pose(frames, candidates(1), [people]).drops
    assert (drop.verdict, drop.value) == (verdict, pytest.approx(value, abs=1e-5))


def test_too_soon_is_counted_without_converting_the_frame(frames):
    shown = candidates(4, step_ms=250)
    result = run_pose(frames, shown, [[person()]])
    assert [k.time_ms for k in result.keepers] == [0, 500]
    assert [(d.verdict, d.value) for d in result.drops] == [(Verdict.TOO_SOON, 250)] * 2
    assert [c.converted for c in shown] == [1, 0, 1, 0]
    assert result.examined == 4


@pytest.mark.parametrize(
    ("time_ms", "kept"),
    [
        (999, 1),  # a millisecond too early at one keep a second
        (1000, 2),  # exactly in time
    ],
)
def test_the_rate_is_met_to_the_millisecond(frames, time_ms, kept):
    shown = [FakeCandidate(0, picture(0)), FakeCandidate(time_ms, picture(1))]
    result = run_pose(frames, shown, [[person()]], sampling=Sampling(keeps_per_second=1))
    assert len(result.keepers) == kept


def test_a_frame_that_repeats_a_kept_one_is_dropped(frames):
    still = [FakeCandidate(i * 500, picture(0)) for i in range(3)] + [FakeCandidate(1500, picture(9))]
    result = run_pose(frames, still, [[person()]])
    assert [k.time_ms for k in result.keepers] == [0, 1500]
    assert [(d.verdict, d.value) for d in result.drops] == [(Verdict.NEAR_DUPLICATE, 0.0)] * 2
    assert result.keepers[1].measures["pose_distance"] == 0
    assert result.keepers[1].measures["hash_distance"] > 6


@pytest.mark.parametrize(
    ("min_confidence", "kept"),
    [
        (0.3, 2),  # the hips count, and they have moved
        (0.5, 1),  # the hips are guesses: nothing has moved
    ],
)
def test_only_points_that_the_recipe_calls_confident_make_a_frame_new(frames, min_confidence, kept):
    still = standing(p8=0.4, p9=0.4, p12=0.4)
    moved = still.copy()
    moved[[8, 9, 12], 1] += 40
    shown = [FakeCandidate(0, picture(0)), FakeCandidate(500, picture(0))]
    rule = {"min_confidence": min_confidence}
    result = run_pose(frames, shown, [[person(still)], [person(moved)]], rule=rule)
    assert (result.examined, len(result.keepers)) == (2, kept)


def test_a_blurred_person_is_dropped_when_asked(frames):
    blurred = [FakeCandidate(0, cv2.GaussianBlur(picture(), (0, 0), 9))]
    (drop,) = run_pose(frames, blurred, [[person()]], rule={"min_sharpness": 5.0}).drops
    assert drop.verdict == Verdict.BLURRED
    assert 0 < drop.value < 5


def test_sharpness_falls_with_blur():
    image = picture(3)
    values = [sharpness(cv2.GaussianBlur(image, (0, 0), sigma)) for sigma in (1, 2, 4)]
    assert sharpness(image) > values[0] > values[1] > values[2]


def test_a_frame_that_cannot_be_decoded_fails_alone(frames, caplog):
    shown = [FakeCandidate(0, picture(0)), FakeCandidate(500, UNDECODABLE), FakeCandidate(1000, picture(2))]
    with caplog.at_level(logging.WARNING):
        result = run_pose(frames, shown, [[person()]])
    assert [k.time_ms for k in result.keepers] == [0, 1000]
    assert [(d.verdict, d.value) for d in result.drops] == [(Verdict.FAILED, -1)]
    assert "500 ms" in caplog.text
    assert "cannot be decoded" in caplog.text


def test_running_twice_gives_the_same(frames):
    stage = PoseFilter(Scripted([[person()], []]), read=reader(candidates(6)))
    first = stage.run(SegmentResult(segment=make_segment()), frames)
    again = stage.run(first, frames)
    assert first.examined == 6
    assert len(first.keepers) == 3
    assert first.model_copy(update={"seconds": {}}) == again.model_copy(update={"seconds": {}})


def test_keypoints_in_another_format_are_refused(frames):
    with pytest.raises(BadModelOutput, match=r"\(17, 3\)"):
        run_pose(frames, candidates(1), [[person(standing()[:17])]])


@pytest.mark.parametrize(
    "error",
    [
        WeightsError("gone", ""),  # the model cannot work at all
        DiskFull("full", ""),  # nothing can be stored
        MemoryError(),  # the machine is at its end
        TimeoutError(),  # a soft time limit or a remote model
    ],
)
def test_a_fault_of_the_process_rises(frames, error):
    with pytest.raises(type(error)):
        run_pose(frames, candidates(2), [error])
    kept = run_pose(frames, candidates(2), [[person()]])
    with pytest.raises(type(error)):
        MaskGeneration(Scripted([error])).run(kept, frames)


def test_a_missing_video_rises(tmp_path):
    frames = make_frames(tmp_path)
    (tmp_path / "videos" / "clip.mp4").unlink()
    with pytest.raises(ArtifactMissing):
        run_pose(frames, candidates(1), [[person()]])


times = st.lists(st.integers(0, 10_000), min_size=1, max_size=40, unique=True).map(sorted)


@settings(max_examples=50, deadline=None)
@given(times, st.sampled_from([0.3, 1.0, 2.0, 7.0, 50.0]), st.lists(st.booleans(), min_size=1, max_size=9))
def test_keeps_never_come_nearer_than_the_rate(moments, rate, present):
    shown = [FakeCandidate(t, picture(t)) for t in moments]
    answers = [[person()] if here else [] for here in present]
    with tempfile.TemporaryDirectory() as folder:
        result = run_pose(make_frames(Path(folder)), shown, answers, sampling=Sampling(keeps_per_second=rate))
    kept = [k.time_ms for k in result.keepers]
    assert all((b - a) * rate >= 1000 for a, b in pairwise(kept))
    assert result.examined == len(moments)
    for drop in result.drops:
        if drop.verdict == Verdict.TOO_SOON:
            before = max(t for t in kept if t < drop.time_ms)
            assert drop.value == drop.time_ms - before < 1000 / rate
