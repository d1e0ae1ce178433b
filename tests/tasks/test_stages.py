import json
import logging
import tempfile
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
    candidates,
    half,
    instance,
    make_frames,
    person,
    picture,
    run_all,
    run_pose,
    standing,
    touching,
)

from broker.errors import ArtifactMissing
from broker.messages import SegmentResult, Verdict
from broker.recipe import Stage
from tasks.mask_generation import MaskGeneration
from workers.downloads.errors import FrameUndecodable

UNDECODABLE = FrameUndecodable("The frame at 0 ms cannot be decoded.", "Nothing to do.")


@pytest.fixture
def frames(tmp_path):
    return make_frames(tmp_path)


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


def test_at_the_threshold_itself_a_frame_is_easy(frames):
    result = run_all(
        frames, candidates(1), [[person()]], [[instance()]], [body_mask()], comparison={"iou_threshold": 1.0}
    )
    assert [(k.verdict, k.iou) for k in result.keepers] == [(Verdict.EASY, 1.0)]


@pytest.mark.parametrize(
    "error",
    [
        cv2.error("a picture that OpenCV cannot take"),  # not a ValueError
        ValueError("numbers that do not fit"),  # numpy's usual complaint
        ZeroDivisionError(),  # an empty region
        IndexError(),  # a point outside
    ],
)
def test_what_one_picture_can_cause_costs_that_picture(frames, error):
    shown = candidates(3)
    posed = run_pose(frames, shown, [[person()], error, [person()]])
    assert [(d.time_ms, d.verdict, d.value) for d in posed.drops] == [(500, Verdict.FAILED, -1)]
    masked = run_all(frames, shown, [[person()]], [[instance()], error, [instance()]], [body_mask()])
    drawn = run_all(frames, shown, [[person()]], [[instance()]], [body_mask(), error, body_mask()])
    for result in (masked, drawn):
        assert [k.verdict for k in result.keepers] == [Verdict.EASY, Verdict.FAILED, Verdict.EASY]


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
