from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.sampling import Grid, plan_segments


@given(st.integers(0, 10_000_000), st.floats(0.5, 120))
def test_segments_partition_the_video(duration, seconds):
    segments = plan_segments(duration, seconds)
    length = round(seconds * 1000)

    assert segments[0][0] == 0
    assert segments[-1][1] == max(duration, 1)
    assert all(left[1] == right[0] for left, right in pairwise(segments))
    assert all(end - start == length for start, end in segments[:-1])
    last = segments[-1][1] - segments[-1][0]
    assert last * 4 < length * 5
    assert len(segments) == 1 or last * 4 >= length


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (0, [(0, 1)]),  # one frame: no duration, still one segment
        (19_999, [(0, 19_999)]),  # shorter than a segment
        (40_000, [(0, 20_000), (20_000, 40_000)]),  # no empty last piece
        (44_999, [(0, 20_000), (20_000, 44_999)]),  # a short rest joins the one before
        (45_000, [(0, 20_000), (20_000, 40_000), (40_000, 45_000)]),  # a quarter stands alone
    ],
)
def test_segments_by_example(duration, expected):
    assert plan_segments(duration, 20) == expected


@pytest.mark.parametrize(
    ("duration", "seconds"), [(-1, 20.0), (10, 0.0), (10, -3.0)]
)  # no such video, no length
def test_impossible_segments_are_refused(duration, seconds):
    with pytest.raises(ValueError, match="cannot cut"):
        plan_segments(duration, seconds)


@given(
    start=st.integers(0, 100_000),
    gaps=st.lists(st.integers(1, 500), min_size=1, max_size=200),
    per_second=st.sampled_from([0.5, 1.0, 2.0, 3.0, 8.0, 29.97, 1000.0]),
)
def test_every_grid_time_is_answered_by_the_first_frame_at_or_after_it(start, gaps, per_second):
    times = [start + sum(gaps[:n]) for n in range(len(gaps))]
    grid = Grid(start, per_second)
    taken = [time for time in times if grid.takes(time)]

    step = 1000 / Fraction(per_second).limit_denominator(1_000_000)
    expected, moment = [], Fraction(start)
    while moment <= times[-1] + Fraction(1, 2):
        expected.append(next(t for t in times if t + Fraction(1, 2) >= moment))
        moment += step
    assert taken == sorted(set(expected))


def test_rounded_times_do_not_miss_the_grid():
    # 30 frames a second in whole milliseconds, as WebM keeps them: 15 a second is every second frame.
    times = [round(n * 1000 / 30) for n in range(300)]
    grid = Grid(0, 15)
    assert [t for t in times if grid.takes(t)] == times[::2]


@pytest.mark.parametrize(
    "per_second", [0.0, -1.0, float("nan"), float("inf")]
)  # no grid can be made of these
def test_impossible_rates_are_refused(per_second):
    with pytest.raises(ValueError, match="per_second"):
        Grid(0, per_second)
