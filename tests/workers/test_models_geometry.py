"""Squares, crops, letterboxes and overlaps: laws that hold without any weights."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workers.pose.geometry import Roi, letterbox, mask_iou, overlap
from workers.tensors import sigmoid

ROIS = st.builds(
    Roi,
    x=st.floats(-500, 1500),
    y=st.floats(-500, 1500),
    side=st.floats(10, 2000),
    rotation=st.floats(-math.pi, math.pi),
)
MASKS = arrays(np.bool_, (6, 7))


@settings(deadline=None)
@given(ROIS, arrays(np.float32, (5, 2), elements=st.floats(-1, 2, width=32)))
def test_points_go_to_the_frame_as_the_crop_matrix_comes_from_it(roi, points):
    matrix = roi.matrix(256)
    back = roi.to_frame(points).astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    assert np.allclose(back / 256, points, atol=2e-3)


@settings(deadline=None)
@given(ROIS, st.floats(0.1, 1.0))
def test_a_shrunk_frame_gets_the_same_crop_from_shrunk_coordinates(roi, zoom):
    point = np.array([123.0, 45.0, 1.0])
    shrunk = np.array([123.0 * zoom, 45.0 * zoom, 1.0])
    assert np.allclose(roi.matrix(256) @ point, roi.matrix(256, zoom) @ shrunk)


@settings(deadline=None)
@given(st.floats(0, 2 * math.pi), st.floats(5, 500), st.floats(-100, 900), st.floats(-100, 900))
def test_the_rim_of_the_circle_points_up_in_the_crop(angle, radius, x, y):
    centre = np.array([x, y], np.float32)
    rim = np.array([x + radius * math.sin(angle), y - radius * math.cos(angle)], np.float32)
    roi = Roi.from_circle(centre, rim)
    matrix = roi.matrix(256)
    at = matrix[:, :2] @ rim.astype(np.float64) + matrix[:, 2]
    # The rim is half the side over 1.25 above the middle: 128 - 128 / 1.25.
    assert at == pytest.approx([128, 128 - 128 / 1.25], abs=0.5)
    assert -math.pi <= roi.rotation <= math.pi
    assert roi.side == pytest.approx(2.5 * radius, rel=1e-3)


def test_an_upright_crop_and_its_paste_bring_the_picture_back():
    image = np.zeros((200, 300, 3), np.uint8)
    cv2.circle(image, (150, 100), 60, (255, 255, 255), -1)
    roi = Roi(150, 100, 180, 0.3)
    crop = roi.crop(image, 256)
    assert crop.shape == (256, 256, 3)
    assert crop.dtype == np.uint8
    pasted = roi.paste(crop[:, :, 0].astype(np.float32) / 255, 300, 200) > 0.5
    assert mask_iou(pasted, image[:, :, 0] > 127) > 0.97


def test_outside_the_frame_a_crop_repeats_the_edge_and_a_paste_is_empty():
    image = np.full((50, 50, 3), 200, np.uint8)
    assert (Roi(0, 0, 100, 0).crop(image, 64) == 200).all()
    pasted = Roi(10, 10, 10, 0).paste(np.ones((64, 64), np.float32), 50, 50)
    assert pasted[10, 10] == 1
    assert pasted[40, 40] == 0


@pytest.mark.parametrize(
    ("roi", "usable"),
    [
        (Roi(1, 1, 2.0, 0), True),  # the least side
        (Roi(1, 1, 0.0, 0), False),  # two keypoints on one spot
        (Roi(math.nan, 1, 50, 0), False),  # a network that answered with no number
        (Roi(1, math.inf, 50, 0), False),  # or with an infinite one
    ],
)
def test_a_square_without_extent_is_not_looked_at(roi, usable):
    assert roi.is_usable() is usable


@settings(deadline=None)
@given(st.integers(1, 900), st.integers(1, 900))
def test_a_letterbox_maps_the_corners_of_the_image_into_the_square(height, width):
    image = np.full((height, width, 3), 255, np.uint8)
    square, side, x, y = letterbox(image, 64)
    assert square.shape == (64, 64, 3)
    assert side == max(height, width)
    assert (x, y) == ((width - side) / 2, (height - side) / 2)
    assert min(x, y) <= 0 == max(x, y)
    # The share of the square that the image fills, within one row of rounding.
    filled = (square[:, :, 0] == 255).sum()
    assert abs(filled - 64 * max(1, round(64 * min(height, width) / side))) <= 64


@settings(deadline=None)
@given(MASKS, MASKS)
def test_iou_and_overlap_keep_their_laws(a, b):
    assert 0 <= mask_iou(a, b) <= 1
    assert mask_iou(a, b) == mask_iou(b, a)
    assert mask_iou(a, a) == 1
    assert 0 <= overlap(a, b) <= 1
    assert mask_iou(a, b) <= overlap(a, b) or not a.any()


def test_the_sigmoid_survives_any_logit():
    values = sigmoid(np.array([-1e9, 0.0, 1e9], np.float32))
    assert values == pytest.approx([0, 0.5, 1])
