"""The detector's decoding: anchors, weighted suppression and the laws they keep; no weights needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.pose.blazepose_detector import INPUT, anchors, box_ious, decode, weighted_nms

CORNERS = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1), st.floats(0.01, 1))
CROWDS = st.lists(st.tuples(CORNERS, st.floats(0.5, 1.0)), max_size=12)


def crowd(rows):
    boxes = np.array([(x, y, x + w, y + h) for (x, y, w, h), _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in rows], np.float32)
    return boxes, boxes.reshape(-1, 2, 2), scores


def test_the_anchors_are_the_networks():
    centres = anchors()
    assert centres.shape == (2254, 2)
    assert centres[0] == pytest.approx([0.5 / 28, 0.5 / 28])  # two a cell on the finest grid
    assert centres[1] == pytest.approx(centres[0])
    assert centres[2] == pytest.approx([1.5 / 28, 0.5 / 28])  # row by row
    assert centres[-1] == pytest.approx([6.5 / 7, 6.5 / 7])  # the coarsest grid last
    assert (centres > 0).all()
    assert (centres < 1).all()


@settings(deadline=None)
@given(CROWDS)
def test_suppression_joins_what_overlaps_and_loses_nobody(rows):
    boxes, points, scores = crowd(rows)
    found = weighted_nms(boxes, points, scores, 0.3)
    assert len(found) <= len(rows)
    assert bool(found) == bool(rows)
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)
    for detection in found:
        # An average lies within what it averages, and moves keypoints as it moves the box.
        assert (detection.box[:2] >= boxes[:, :2].min(axis=0) - 1e-5).all()
        assert (detection.box[2:] <= boxes[:, 2:].max(axis=0) + 1e-5).all()
        assert detection.keypoints.ravel() == pytest.approx(detection.box, abs=1e-5)
        assert detection.score in scores


@settings(deadline=None)
@given(CROWDS, st.randoms())
def test_suppression_does_not_depend_on_the_order(rows, chance):
    # Equal scores have no better one among them, so each row gets a score of its own.
    rows = [(box, 0.5 + i / 40) for i, (box, _) in enumerate(rows)]
    mixed = chance.sample(rows, len(rows))
    for a, b in zip(weighted_nms(*crowd(rows), 0.3), weighted_nms(*crowd(mixed), 0.3), strict=True):
        assert a.box == pytest.approx(b.box, abs=1e-4)


def test_apart_stays_apart_and_together_becomes_the_weighted_mean():
    rows = [((0.1, 0.1, 0.2, 0.2), 0.9), ((0.12, 0.1, 0.2, 0.2), 0.6), ((0.7, 0.7, 0.2, 0.2), 0.8)]
    found = weighted_nms(*crowd(rows), 0.3)
    assert [d.score for d in found] == pytest.approx([0.9, 0.8])
    assert found[0].box[0] == pytest.approx((0.1 * 0.9 + 0.12 * 0.6) / 1.5)


@settings(deadline=None)
@given(CROWDS.filter(bool))
def test_a_box_overlaps_itself_wholly_and_others_by_a_share(rows):
    boxes, _, _ = crowd(rows)
    ious = box_ious(boxes[0], boxes)
    assert ious[0] == pytest.approx(1)
    assert (ious >= 0).all()
    assert (ious <= 1 + 1e-6).all()


def test_decoding_adds_the_anchor_and_drops_weak_and_inverted_boxes():
    raw = np.zeros((3, 12), np.float32)
    raw[:, 2:4] = 0.1 * INPUT
    raw[0, 4:6] = 0.2 * INPUT, -0.1 * INPUT
    raw[1, 2] = -5  # a negative width
    centres = np.array([[0.5, 0.5], [0.1, 0.1], [0.9, 0.9]], np.float32)
    logits = np.array([3.0, 3.0, -3.0], np.float32)  # the third is weak
    (only,) = decode(raw, logits, centres, 0.5, 0.3)
    assert only.box == pytest.approx([0.45, 0.45, 0.55, 0.55])
    assert only.keypoints[0] == pytest.approx([0.7, 0.4])
    assert only.keypoints[1] == pytest.approx([0.5, 0.5])
