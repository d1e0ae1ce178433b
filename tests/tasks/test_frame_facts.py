from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples_of_books import RECIPE, a_keeper, a_result, a_video, planned
from skeletons import figure, keypoints
from sqlalchemy import create_engine, text

from broker.frame_views import FrameFilter, PoseClass
from broker.messages import Verdict
from broker.recipe import TeacherGates
from broker.settings import Settings
from tasks.frame_facts import class_old_frames, doubt_of, facts_by_time, facts_of
from tasks.runtime import Runtime

GATES = TeacherGates()


def masked(**measures: float):
    return a_keeper(0).model_copy(update={"mask_key": "masks/0.png", "measures": measures})


@pytest.mark.parametrize(
    ("measures", "doubt"),
    [
        ({"keypoints_outside": 0.0, "teacher_stability": 1.0, "edge_contact": 0.0}, 0.0),
        ({"keypoints_outside": 0.125, "teacher_stability": 1.0, "edge_contact": 0.0}, 0.5),
        ({"keypoints_outside": 0.0, "teacher_stability": 0.925, "edge_contact": 0.0}, 0.5),
        ({"keypoints_outside": 0.0, "teacher_stability": 1.0, "edge_contact": 0.0025}, 0.25),
        ({"keypoints_outside": 0.05, "teacher_stability": 0.97, "edge_contact": 0.008}, 0.8),  # the worst
        ({"keypoints_outside": 0.25, "teacher_stability": 1.0, "edge_contact": 0.0}, 1.0),  # at the gate
        ({"keypoints_outside": 0.9, "teacher_stability": 0.1, "edge_contact": 0.5}, 1.0),  # beyond
        ({}, 0.0),  # a teacher that measures nothing of itself
    ],
)
def test_doubt_is_the_share_of_the_room_that_the_gates_leave(measures, doubt):
    assert doubt_of(masked(**measures), GATES) == pytest.approx(doubt)


def test_a_frame_without_a_mask_has_no_doubt_and_one_of_several_people_all_of_it():
    assert doubt_of(a_keeper(0), GATES) is None
    several = masked(teacher_stability=1.0).decide(Verdict.TEACHER_SEVERAL, 2)
    assert doubt_of(several, GATES) == 1.0


@pytest.mark.parametrize(("used", "doubt"), [(0.0, 0.0), (1e-9, 1.0)])
def test_a_gate_that_allows_nothing_doubts_whatever_uses_it(used, doubt):
    strict = TeacherGates(max_keypoints_outside=0.0, max_edge_contact=0.0, min_stability=1.0)
    assert doubt_of(masked(keypoints_outside=used), strict) == doubt


shares = st.floats(0, 1)


@given(shares, shares, shares, shares)
def test_doubt_never_falls_when_a_measure_gets_worse(outside, stability, contact, worse):
    before = doubt_of(
        masked(keypoints_outside=outside, teacher_stability=stability, edge_contact=contact), GATES
    )
    after = doubt_of(
        masked(
            keypoints_outside=max(outside, worse),
            teacher_stability=stability * (1 - worse),
            edge_contact=contact,
        ),
        GATES,
    )
    assert before is not None
    assert after is not None
    assert 0 <= before <= after <= 1


def test_the_pose_is_that_of_the_recipe_and_the_video():
    keeper = masked().model_copy(update={"keypoints": keypoints(figure(trunk=70, turn=90))})
    video = a_video(width=1024, height=1024)
    assert facts_of(keeper, video, RECIPE).pose_class == PoseClass.BENT
    assert facts_of(keeper, a_video(width=8192, height=8192), RECIPE).pose_class == PoseClass.SMALL
    blind = RECIPE.model_copy(update={"rule": RECIPE.rule.model_copy(update={"min_confidence": 0.95})})
    assert facts_of(keeper, video, blind).pose_class == PoseClass.SMALL  # no point counts


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    settings.home.mkdir()
    runtime = Runtime(settings)
    yield runtime
    runtime.catalog.dispose()


def test_a_settled_segment_has_its_facts(runtime: Runtime):
    (segment,) = planned(runtime.catalog, 1)
    result = a_result(segment)
    facts = facts_by_time(result)
    assert list(facts) == [10]
    runtime.catalog.settle_segment(result, facts)
    (frame,) = runtime.catalog.frames.page(FrameFilter()).items
    assert (frame.pose_class, frame.doubt) == (facts[10].pose_class, None)
    assert class_old_frames(runtime) == 0


def test_frames_of_earlier_releases_are_classed_once(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tasks.frame_facts.BATCH", 2)
    segments = planned(runtime.catalog, 5)
    for segment in segments:
        runtime.catalog.settle_segment(a_result(segment), facts_by_time(a_result(segment)))
    engine = create_engine(runtime.settings.catalog)
    with engine.begin() as connection:
        connection.execute(text("UPDATE frames SET pose_class = NULL, doubt = NULL"))
    engine.dispose()
    assert class_old_frames(runtime) == 5
    assert class_old_frames(runtime) == 0
    frames = runtime.catalog.frames.page(FrameFilter()).items
    assert [frame.pose_class for frame in frames] == [PoseClass.SMALL] * 5
