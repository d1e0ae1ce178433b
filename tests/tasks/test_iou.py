import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.iou import EPSILON, mask_iou

SHAPE = (5, 7)
masks = arrays(np.bool_, SHAPE)


def as_set(mask):
    return {tuple(index) for index in np.argwhere(mask)}


@given(masks, masks)
def test_agrees_with_the_definition_on_sets(a, b):
    either = as_set(a) | as_set(b)
    expected = len(as_set(a) & as_set(b)) / len(either) if either else 1.0
    assert mask_iou(a, b) == pytest.approx(expected, abs=1e-6)


@given(masks, masks)
def test_is_symmetric_and_between_0_and_1(a, b):
    assert mask_iou(a, b) == mask_iou(b, a)
    assert 0 < mask_iou(a, b) <= 1


@given(masks)
def test_a_mask_agrees_with_itself(a):
    assert mask_iou(a, a) == 1.0


@given(masks.filter(lambda mask: mask.any()))
def test_disjoint_masks_do_not_agree(a):
    assert mask_iou(a, ~a) == pytest.approx(0, abs=EPSILON)


@given(masks, st.integers(1, 3))
def test_size_does_not_matter(a, factor):
    b = np.roll(a, 1, axis=1)
    big = [np.kron(m, np.ones((factor, factor), np.bool_)).astype(np.bool_) for m in (a, b)]
    assert mask_iou(*big) == pytest.approx(mask_iou(a, b), abs=1e-6)


def test_the_formula_of_the_report_to_the_last_digit():
    a, b = np.zeros((2, 2), np.bool_), np.zeros((2, 2), np.bool_)
    a[0], b[:, 0] = True, True
    assert mask_iou(a, b) == (1 + 1e-7) / (4 - 1 + 1e-7)


def test_masks_of_different_size_are_refused():
    with pytest.raises(ValueError, match="different size"):
        mask_iou(np.zeros((2, 2), np.bool_), np.zeros((2, 3), np.bool_))
