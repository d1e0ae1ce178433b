import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples_of_books import a_keeper

from broker.frame_views import PoseClass
from tasks.failure_report import intervals
from tasks.failure_report.pictures import around
from tasks.failure_report.tally import Tally


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(hits, of, low, high):
    found = intervals.wilson(hits, of)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_no_share_of_nothing():
    with pytest.raises(ValueError, match="a share of 0"):
        intervals.wilson(0, 0)


@pytest.mark.parametrize(("freedom", "t"), [(4, 2.776), (5, 2.571), (10, 2.228), (30, 2.042), (1000, 1.962)])
def test_student_as_tabled(freedom, t):
    assert intervals.student_t(freedom) == pytest.approx(t, abs=0.01)


def test_the_interval_of_a_mean():
    values = np.array([0.2, 0.4, 0.4, 0.5, 0.5])
    found = intervals.mean_of(5, values.sum(), (values**2).sum())
    half = 2.776 * values.std(ddof=1) / np.sqrt(5)
    assert found.value == pytest.approx(0.4)
    assert (found.low, found.high) == (
        pytest.approx(0.4 - half, abs=1e-3),
        pytest.approx(0.4 + half, abs=1e-3),
    )


def test_drawing_videos_of_one_frame_each_gives_the_textbook_interval():
    values = np.random.default_rng(1).uniform(0, 1, 400)
    sums, counts = intervals.resampled_sums(values[:, None], np.ones((400, 1)))
    found = intervals.percentiles(values.mean(), sums[:, 0] / counts[:, 0])
    known = intervals.mean_of(400, values.sum(), (values**2).sum())
    assert found.low == pytest.approx(known.low, abs=0.006)
    assert found.high == pytest.approx(known.high, abs=0.006)


def test_intervals_by_video_hold_the_truth_where_those_by_frame_do_not():
    """100 trials: 20 videos, each with a mean of its own around 0.5, 30 frames each that hardly differ."""
    draw = np.random.default_rng(7)
    held = {"video": 0, "frame": 0}
    for _ in range(100):
        means = draw.normal(0.5, 0.1, 20)
        frames = np.clip(means[:, None] + draw.normal(0, 0.02, (20, 30)), 0, 1)
        sums, counts = intervals.resampled_sums(frames.sum(axis=1, keepdims=True), np.full((20, 1), 30.0))
        by_video = intervals.percentiles(frames.mean(), sums[:, 0] / counts[:, 0])
        by_frame = intervals.mean_of(frames.size, frames.sum(), (frames**2).sum())
        held["video"] += by_video.low <= 0.5 <= by_video.high
        held["frame"] += by_frame.low <= 0.5 <= by_frame.high
    assert held["video"] >= 85
    assert held["frame"] <= 50


def test_drawing_in_parts_is_drawing(monkeypatch):
    table = np.random.default_rng(2).uniform(0, 1, (50, 3))
    whole = intervals.resampled_sums(table)[0]
    monkeypatch.setattr(intervals, "_CELLS", 50 * 7)
    assert np.allclose(intervals.resampled_sums(table)[0], whole)


frames = st.lists(
    st.tuples(st.sampled_from(list(PoseClass)[:3]), st.sampled_from("abcdef"), st.integers(0, 100)),
    max_size=60,
)


@given(frames, st.integers(1, 10))
def test_the_worst_are_the_worst_and_no_video_crowds_them_out(given_frames, most):
    counted = Tally(0.5)
    for number, (pose, name, hundredths) in enumerate(given_frames):
        counted.add(pose, name, f"{name}.{number}", hundredths / 100)
    assert counted.count == len(given_frames)
    assert counted.hard == counted.below(0.5) == sum(h < 50 for _, _, h in given_frames)
    for pose in list(PoseClass)[:3]:
        mine = [(h / 100, f"{name}.{n}") for n, (p, name, h) in enumerate(given_frames) if p == pose]
        shown = counted.worst(pose, most)
        assert shown == sorted(shown)
        assert set(shown) <= set(mine)
        assert len(shown) == min(most, sum(min(8, sum(n[0] == v for _, n in mine)) for v in "abcdef"))
        crowded = [v for v in "abcdef" if sum(n[0] == v for _, n in shown) > 2]
        left = [f for f in mine if f not in shown and sum(n[0] == f[1][0] for _, n in shown) < 2]
        assert not (crowded and left)
        if mine and most:
            assert shown[0][0] == min(mine)[0]


boxes = st.tuples(*[st.floats(-50, 150, allow_nan=False)] * 4)


@given(boxes, st.booleans(), st.integers(1, 90), st.integers(1, 120))
def test_a_cut_out_holds_both_masks_and_is_never_empty(box, masked, height, width):
    teacher, device = np.zeros((height, width), bool), np.zeros((height, width), bool)
    if masked:
        teacher[0, 0] = device[-1, -1] = True

    ordered = (min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3]))
    person = a_keeper(0).model_copy(update={"box": ordered})
    x0, y0, x1, y1 = around(teacher, device, person)
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    if masked:
        assert (x0, y0, x1, y1) == (0, 0, width, height)
