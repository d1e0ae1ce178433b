import numpy as np
import pytest
from stage_fakes import (
    Scripted,
    body_mask,
    candidates,
    half,
    instance,
    make_frames,
    person,
    run_pose,
    standing,
    touching,
)

from broker.messages import Verdict
from broker.recipe import TeacherGates
from tasks.faults import BadModelOutput
from tasks.mask_generation import MaskGeneration, edge_contact, keypoints_outside, mask_side


@pytest.fixture
def frames(tmp_path):
    return make_frames(tmp_path)


@pytest.mark.parametrize(
    ("instances", "verdict", "value"),
    [
        ([instance()], None, None),  # one good mask
        ([], Verdict.TEACHER_NONE, 0),  # the teacher sees nobody
        ([instance(), instance()], Verdict.TEACHER_SEVERAL, 2),  # the teacher sees a bystander
        ([instance(touching(), side=100.0)], Verdict.CUT_BY_FRAME, 0.3),  # the mask runs out of the frame
        ([instance(touching(), side=3000.0)], None, None),  # a contact of 1 % itself is allowed
        (
            [instance(side=100.0, edge_pixels=20)],
            Verdict.CUT_BY_FRAME,
            0.2,
        ),  # the teacher knows more
        ([instance(touching(), side=100.0, edge_pixels=20)], Verdict.CUT_BY_FRAME, 0.3),
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
