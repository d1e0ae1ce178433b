"""Averaging over areas without OpenCV, held against OpenCV and against plain means."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.area import averaged
from workers.pictures import resized

SIDE = st.integers(1, 120)


@settings(max_examples=60, deadline=None)
@given(SIDE, SIDE, st.data())
def test_it_averages_as_opencv_does(lines, columns, data):
    height, width = data.draw(st.integers(1, lines)), data.draw(st.integers(1, columns))
    image = np.random.default_rng(data.draw(st.integers(0, 99))).integers(
        0, 256, (lines, columns, 3), np.uint8
    )
    ours = averaged(image, width, height).astype(int)
    theirs = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(int)
    # Where a mean ends in one half, rounding may go either way.
    assert np.abs(ours - theirs.reshape(ours.shape)).max() <= 1


@pytest.mark.parametrize(
    ("size", "to"), [((1080, 1920), (256, 256)), ((720, 1280), (144, 256)), ((480, 854), (256, 256))]
)
def test_frames_come_out_as_from_opencv_but_for_ties(size, to):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    theirs = cv2.resize(image, to[::-1], interpolation=cv2.INTER_AREA)
    assert (averaged(image, to[1], to[0]) != theirs).mean() < 1e-4


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12), st.integers(1, 12))
def test_whole_blocks_become_their_means(across, down, width, height):
    image = np.random.default_rng(across).integers(0, 256, (down * height, across * width, 3), np.uint8)
    means = image.reshape(height, down, width, across, 3).astype(np.int64).sum(axis=(1, 3)) / (down * across)
    assert np.array_equal(averaged(image, width, height), np.rint(means))


def test_sides_that_share_no_divisor_stay_exact():
    """The sums leave float32's whole numbers: 4093 x 211 units of 255."""
    image = np.full((4093, 211, 3), 255, np.uint8)
    assert (averaged(image, 63, 64) == 255).all()
    image[::2] = 254
    assert set(np.unique(averaged(image, 2, 2))) <= {254, 255}


def test_what_becomes_larger_on_one_side_is_sampled():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    assert resized(image, 80, 15).shape == (15, 80, 3)
    assert np.array_equal(resized(image, 40, 30), image)
