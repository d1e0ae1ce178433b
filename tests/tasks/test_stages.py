import json
import logging
import tempfile
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stage_fakes import (
    FakeCandidate,
    Scripted,
    body_mask,
    instance,
    make_frames,
    make_segment,
    person,
    picture,
    reader,
    run_all,
    run_pose,
    standing,
)

from broker.errors import ArtifactMissing, DiskFull, WeightsError
from broker.messages import Sampling, SegmentResult, Stage, TeacherGates, Verdict
from tasks.crops import sharpness
from tasks.device_masks import DeviceMasks
from tasks.faults import BadModelOutput
from tasks.mask_generation import MaskGeneration, edge_contact, keypoints_outside, mask_side
from tasks.pose_filter import PoseFilter
from workers.downloads.errors import FrameUndecodable

UNDECODABLE = FrameUndecodable("The frame at 0 ms cannot be decoded.", "Nothing to do.")


@pytest.fixture
def frames(tmp_path):
    return make_frames(tmp_path)


def candidates(count, step_ms=500):
    return [FakeCandidate(i * step_ms, picture(i)) for i in range(count)]


def outcome(result):
    return [(d.time_ms, d.verdict) for d in result.drops]


# --- pose ------------------------------------------------------------------------------------


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


def test_a_frame_that_repeats_a_kept_one_is_dropped(frames):
    still = [FakeCandidate(i * 500, picture(0)) for i in range(3)] + [FakeCandidate(1500, picture(9))]
    result = run_pose(frames, still, [[person()]])
    assert [k.time_ms for k in result.keepers] == [0, 1500]
    assert [(d.verdict, d.value) for d in result.drops] == [(Verdict.NEAR_DUPLICATE, 0.0)] * 2
    assert result.keepers[1].measures["pose_distance"] == 0
    assert result.keepers[1].measures["hash_distance"] > 6


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


# --- mask ------------------------------------------------------------------------------------


def touching():
    mask = body_mask()
    mask[-1, 30:60] = True
    return mask


def half():
    mask = body_mask()
    mask[40:] = False
    return mask


@pytest.mark.parametrize(
    ("instances", "verdict", "value"),
    [
        ([instance()], None, None),  # one good mask
        ([], Verdict.TEACHER_NONE, 0),  # the teacher sees nobody
        ([instance(), instance()], Verdict.TEACHER_SEVERAL, 2),  # the teacher sees a bystander
        ([instance(touching(), side=100.0)], Verdict.CUT_BY_FRAME, 0.3),  # the mask runs out of the frame
        ([instance(half())], Verdict.TEACHER_DOUBT, 17 / 25),  # the legs are missing in the mask
        ([instance(np.zeros_like(body_mask()))], Verdict.TEACHER_DOUBT, 1.0),  # an empty mask
        ([instance(stability=0.8)], Verdict.TEACHER_DOUBT, 0.8),  # two looks, two masks
    ],
)
def test_gates_of_the_teacher(frames, instances, verdict, value):
    kept = run_pose(frames, candidates(1), [[person()]])
    (keeper,) = MaskGeneration(Scripted([instances])).run(kept, frames).keepers
    assert keeper.verdict == verdict
    assert keeper.value == (None if value is None else pytest.approx(value))
    assert keeper.measures["teacher_people"] == len(instances)
    if instances:
        measured = {"edge_contact", "keypoints_outside", "teacher_stability", "teacher_score", "mask_share"}
        assert measured <= set(keeper.measures)
        assert np.array_equal(frames.mask(keeper.mask_key), instances[0].mask)


def test_what_the_teacher_measured_is_kept(frames):
    kept = run_pose(frames, candidates(1), [[person()]])
    teacher = Scripted([[instance(measures={"presence": 0.97})]])
    (keeper,) = MaskGeneration(teacher).run(kept, frames).keepers
    assert keeper.measures["teacher_presence"] == 0.97


@pytest.mark.parametrize("second_look", [True, False])
def test_the_second_look_is_the_recipes_choice(frames, second_look):
    kept = run_pose(frames, candidates(1), [[person()]], teacher=TeacherGates(second_look=second_look))
    teacher = Scripted([[instance()]])
    MaskGeneration(teacher).run(kept, frames)
    assert teacher.seen == [second_look]


def test_a_mask_of_another_size_is_refused(frames):
    kept = run_pose(frames, candidates(1), [[person()]])
    with pytest.raises(BadModelOutput, match=r"\(7, 7\)"):
        MaskGeneration(Scripted([[instance(np.ones((7, 7), np.bool_))]])).run(kept, frames)
    with pytest.raises(BadModelOutput, match=r"\(7, 7\)"):
        DeviceMasks(Scripted([np.ones((7, 7), np.bool_)])).run(kept, frames)


def test_edge_contact_is_the_longest_on_one_edge():
    mask = np.zeros((10, 20), np.bool_)
    assert edge_contact(mask) == 0
    mask[0, 3:6], mask[2:9, -1] = True, True
    assert edge_contact(mask) == 7
    assert mask_side(mask) == 17


def test_joints_on_the_outline_are_not_outside():
    points = standing()
    mask = np.zeros((128, 96), np.bool_)
    for x, y, _ in points.astype(int):
        mask[y + 1 : y + 3, x + 1 : x + 3] = True  # next to every point, on none
    assert keypoints_outside(mask, points, 0.3) == 0.0
    assert keypoints_outside(np.roll(mask, 25, axis=0), points, 0.3) > 0.5


# --- me and compare --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (range(12, 116), Verdict.EASY),  # the device agrees
        (range(12, 63), Verdict.HARD),  # it drops the legs: 51 of 104 rows
        (range(12, 64), Verdict.EASY),  # 52 of 104 rows: the threshold itself is easy
        (range(0), Verdict.HARD),  # it sees nobody
    ],
)
def test_below_the_threshold_a_frame_is_hard(frames, rows, verdict):
    device = np.zeros_like(body_mask())
    device[list(rows)] = body_mask()[list(rows)]
    (keeper,) = run_all(frames, candidates(1), [[person()]], [[instance()]], [device]).keepers
    assert keeper.verdict == verdict
    assert keeper.iou == keeper.value == pytest.approx(len(rows) / 104, abs=1e-6)


def test_later_stages_leave_decided_frames_alone(frames):
    result = run_all(frames, candidates(3), [[person()]], [[instance()], [], [instance()]], [body_mask()])
    assert [k.verdict for k in result.keepers] == [Verdict.EASY, Verdict.TEACHER_NONE, Verdict.EASY]
    assert result.keepers[1].device_key is None


def test_a_stored_frame_that_is_broken_fails_alone(tmp_path, caplog):
    frames = make_frames(tmp_path)
    kept = run_pose(frames, candidates(3), [[person()]])
    (tmp_path / kept.keepers[1].frame_key).write_bytes(b"no picture")
    elsewhere = make_frames(tmp_path)  # another machine: nothing in memory
    with caplog.at_level(logging.WARNING):
        masked = MaskGeneration(Scripted([[instance()]])).run(kept, elsewhere)
    assert [k.verdict for k in masked.keepers] == [None, Verdict.FAILED, None]
    assert masked.keepers[1].value == -1
    assert "500 ms" in caplog.text


def test_when_no_picture_is_there_the_segment_fails_and_not_its_frames(tmp_path):
    kept = run_pose(make_frames(tmp_path / "a"), candidates(3), [[person()]])
    assert len(kept.keepers) == 3
    with pytest.raises(ArtifactMissing):
        MaskGeneration(Scripted([[instance()]])).run(kept, make_frames(tmp_path / "b"))


def test_a_result_survives_the_wire_between_all_stages(frames):
    result = run_all(frames, candidates(4), [[person()]], [[instance()], []], [body_mask()])
    text = result.model_dump_json()
    assert "NaN" not in text
    assert SegmentResult.model_validate(json.loads(text)) == result
    assert set(result.seconds) == {Stage.POSE, Stage.MASK, Stage.ME, Stage.COMPARE}


# --- the law of the funnel -------------------------------------------------------------------

anyone = st.sampled_from(
    [
        [],
        [person()],
        [person(standing(shift=(3, 0)))],
        [person(), person()],
        [person(standing(p0=0, p17=0, p18=0))],
        [person(standing(p4=0))],
        [person(standing(p19=0, p20=0))],
        [person(standing(shift=(0, 20)))],
        [person(standing() * np.float32([1, np.inf, 1]))],
        ValueError("a network complains"),
    ]
)
any_instances = st.sampled_from(
    [
        [],
        [instance()],
        [instance(), instance()],
        [instance(touching(), side=100.0)],
        [instance(half())],
        [instance(stability=0.5)],
        IndexError("a network complains"),
    ]
)
any_device = st.sampled_from([body_mask(), half(), ~body_mask(), cv2.error("a driver complains")])
any_picture = st.integers(0, 3).map(picture) | st.just(UNDECODABLE)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shown=st.lists(any_picture, max_size=12),
    step_ms=st.sampled_from([125, 500, 900]),
    people=st.lists(anyone, min_size=1, max_size=6),
    instances=st.lists(any_instances, min_size=1, max_size=6),
    devices=st.lists(any_device, min_size=1, max_size=6),
)
def test_every_examined_frame_has_exactly_one_verdict(shown, step_ms, people, instances, devices):
    frames_shown = [FakeCandidate(i * step_ms, pixels) for i, pixels in enumerate(shown)]
    with tempfile.TemporaryDirectory() as folder:
        result = run_all(make_frames(Path(folder)), frames_shown, people, instances, devices)
    funnel = result.funnel()
    assert funnel.examined == len(shown) == sum(funnel.verdicts.values())
    recorded = {k.time_ms for k in result.keepers} | {d.time_ms for d in result.drops}
    assert recorded == {c.time_ms for c in frames_shown}
    assert not result.open
    assert all(np.isfinite(v.value) for v in (*result.keepers, *result.drops))
