"""The tile veto: tiles cover the frame, and the rule that makes a candidate another person."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.masks.tile_veto import VetoOptions, compare_masks, is_other_person, spans, tiles

OPTIONS = VetoOptions()


@settings(deadline=None)
@given(st.integers(20, 4000), st.integers(20, 4000), st.floats(0, 0.6))
def test_tiles_cover_every_pixel_and_stay_in_the_frame(height, width, shared):
    found = list(tiles(height, width, shared))
    assert found[0] == (0, 0, width, height)
    assert len(found) in (5, 7)
    covered = np.zeros((height // 10 + 1, width // 10 + 1), bool)
    for x0, y0, x1, y1 in found[1:]:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        covered[-(-y0 // 10) : (y1 - 1) // 10 + 1, -(-x0 // 10) : (x1 - 1) // 10 + 1] = True
    assert covered[: (height - 1) // 10 + 1, : (width - 1) // 10 + 1].all()


@settings(deadline=None)
@given(st.integers(10, 5000), st.integers(1, 4), st.floats(0, 0.6))
def test_spans_reach_from_end_to_end_without_a_gap(length, count, shared):
    found = spans(length, count, shared)
    assert len(found) == count
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(after[0] <= before[1] for before, after in pairwise(found))


@pytest.mark.parametrize(
    ("changes", "torso", "other"),
    [
        ({}, (5, 5), True),  # a clear second person beside the main one
        ({"detection": 0.54, "presence": 0.6}, (5, 5), True),  # a half hidden bystander
        ({"detection": 0.3, "presence": 0.3}, (5, 5), False),  # neither network is sure
        ({"detection": 1.0, "presence": 0.25}, (5, 5), False),  # the pose says no
        ({"area_share": 0.04}, (5, 5), False),  # too small to spoil a mask
        ({}, (-1, 5), False),  # a body outside the frame, dreamt up at a tile's edge
        ({"overlap": 0.4, "detection": 0.4}, (15, 15), False),  # its torso is the main person's
        ({"overlap": 0.4, "detection": 0.4}, (5, 5), True),  # its torso is not
        ({"overlap": 0.2, "detection": 0.4}, (15, 15), True),  # the main person stands before it
        ({"overlap": 0.9, "detection": 0.5}, (15, 15), False),  # a limb of the main person
        ({"overlap": 0.9, "agreement": 0.3}, (15, 15), True),  # two people under one mask
        ({"overlap": 0.9, "agreement": 0.7}, (15, 15), False),  # the main person once more
    ],
)
def test_who_counts_as_another_person(changes, torso, other):
    main = np.zeros((30, 30), bool)
    main[10:20, 10:20] = True
    clear = {"detection": 0.9, "presence": 1.0, "agreement": 0.1, "overlap": 0.0, "area_share": 0.5}
    assert is_other_person({**clear, **changes}, np.array(torso, np.float32), main, OPTIONS) is other


def test_masks_are_compared_by_area():
    main, mask = np.zeros((2, 10, 10), bool)
    main[:, :5] = True
    mask[:, 4:6] = True
    assert compare_masks(mask, main) == {"overlap": 0.5, "area_share": 0.2}
