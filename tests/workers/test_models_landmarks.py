"""Heatmap refinement, pose agreement, BODY_25 and the merging of people found twice; no weights needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workers.masks.blazepose import pose_cover
from workers.pose.blazepose_landmarks import Landmarks, pose_agreement, refine
from workers.pose.body25 import MIDDLES, NAMES, SOURCES, from_blazepose
from workers.pose.geometry import Roi, person_box
from workers.pose.people import distinct

SHARES = arrays(np.float32, 39, elements=st.floats(0, 1, width=32))
PLACES = arrays(np.float32, (39, 2), elements=st.floats(-500, 1500, width=32))


def landmarks(xy, score=1.0, side=200.0):
    ones = np.ones(39, np.float32)
    return Landmarks(Roi(0, 0, side, 0), xy, ones, ones, score, np.zeros((256, 256), np.float32))


@settings(deadline=None)
@given(PLACES, SHARES, SHARES, st.floats(0, 1, width=32))
def test_body25_keeps_places_and_silences_what_is_not_there(xy, visibility, presence, least):
    points = from_blazepose(xy, visibility, presence, least)
    assert points.shape == (25, 3)
    assert points.dtype == np.float32
    for target, source in SOURCES.items():
        assert points[target, :2] == pytest.approx(xy[source])
        assert points[target, 2] == (visibility[source] if presence[source] >= least else 0)
    for target, (left, right) in MIDDLES.items():
        assert points[target, :2] == pytest.approx((xy[left] + xy[right]) / 2, abs=1e-3)
        assert points[target, 2] <= min(visibility[left], visibility[right])
    assert (points[[20, 23]] == 0).all()  # BlazePose has no small toes


@pytest.mark.parametrize(
    ("name", "landmark"),
    [
        ("nose", 0),  # head
        ("right_wrist", 16),  # hands: even numbers are the right side
        ("left_wrist", 15),
        ("left_big_toe", 31),  # feet: the foot index
        ("right_big_toe", 32),
        ("left_heel", 29),
        ("right_ear", 8),  # a head that is turned away
    ],
)
def test_each_part_of_the_rule_comes_from_its_landmark(name, landmark):
    xy = np.stack([np.arange(39), -np.arange(39)], axis=1).astype(np.float32)
    ones = np.ones(39, np.float32)
    assert from_blazepose(xy, ones, ones, 0.5)[NAMES.index(name), 0] == landmark


def test_every_body25_point_but_the_small_toes_has_a_source():
    assert len(NAMES) == len(set(NAMES)) == 25
    assert set(SOURCES) | set(MIDDLES) | {20, 23} == set(range(25))
    assert len(set(SOURCES.values())) == len(SOURCES)


def test_points_outside_the_frame_keep_their_confidence():
    xy = np.full((39, 2), -50, np.float32)
    ones = np.ones(39, np.float32)
    assert from_blazepose(xy, ones, ones, 0.5)[0].tolist() == [-50, -50, 1]


def test_refinement_goes_to_the_centre_of_heat():
    heat = np.full((64, 64, 2), -20, np.float32)
    heat[30, 22, 0] = 20  # row 30, column 22
    xy = np.array([[20.5 / 64, 31.5 / 64], [0.5, 0.5]], np.float32)
    refined = refine(xy, heat)
    assert refined[0] == pytest.approx([22 / 64, 30 / 64], abs=1e-4)
    assert refined[1] == pytest.approx([0.5, 0.5])  # no clear peak: it stays


@settings(deadline=None)
@given(arrays(np.float32, (3, 2), elements=st.floats(-2, 3, width=32)))
def test_refinement_reaches_no_farther_than_its_window(xy):
    heat = np.random.default_rng(0).normal(0, 3, (64, 64, 3)).astype(np.float32)
    moved = np.abs(refine(xy, heat) - xy)
    assert (moved <= 5 / 64 + 1e-6).all()
    outside = ((xy <= -1 / 64) | (xy >= 1)).any(axis=1)
    assert (moved[outside] == 0).all()


@settings(deadline=None)
@given(PLACES, st.floats(0, 100))
def test_poses_agree_less_the_farther_they_are(xy, shift):
    a = landmarks(xy)
    near, far = landmarks(xy + np.float32(shift)), landmarks(xy + np.float32(shift + 5))
    assert pose_agreement(a, a) == 1
    assert 0 <= pose_agreement(a, far) <= pose_agreement(a, near) <= 1


def test_a_person_found_twice_counts_once():
    body, copy, other = np.zeros((3, 20, 20), bool)
    body[5:15, 5:15] = True
    copy[5:15, 6:16] = True
    other[0:4, 0:4] = True
    people = [landmarks(np.zeros((39, 2), np.float32), score) for score in (0.99, 0.98, 0.97)]
    kept = distinct(people, [body, copy, other], 0.6)
    assert [person.score for person in kept] == [0.99, 0.97]
    assert len(distinct(people, [body, copy, other], 0.95)) == 3


@settings(deadline=None)
@given(arrays(np.float32, (33, 2), elements=st.floats(-300, 900, width=32)))
def test_the_box_lies_in_the_frame_and_holds_the_points_in_it(points):
    x0, y0, x1, y1 = person_box(points, 480, 640)
    assert 0 <= x0 <= x1 <= 640
    assert 0 <= y0 <= y1 <= 480
    inside = points[(points >= 0).all(axis=1) & (points[:, 0] <= 640) & (points[:, 1] <= 480)]
    assert ((inside >= (x0 - 1e-3, y0 - 1e-3)) & (inside <= (x1 + 1e-3, y1 + 1e-3))).all()


def test_a_pose_covers_the_share_of_the_mask_in_its_box():
    xy = np.zeros((39, 2), np.float32)
    xy[:20] = 20, 20
    xy[20:33] = 60, 60  # a box of 40 with a margin of 2 on each side
    mask = np.zeros((100, 100), bool)
    assert pose_cover(landmarks(xy), mask) == 1
    mask[30:50, 30:50] = True
    assert pose_cover(landmarks(xy), mask) == 1
    mask[80:90, 0:40] = True
    assert pose_cover(landmarks(xy), mask) == 0.5
