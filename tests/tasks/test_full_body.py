import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stage_fakes import HEIGHT, WIDTH, mirrored, standing

from broker.errors import SettingsError
from broker.messages import Verdict
from broker.recipe import FullBodyRule
from tasks.full_body import clean_points, frame_margin, judge_body, read_body, require_points

RULE = FullBodyRule()


def judge(points, width=WIDTH, height=HEIGHT, rule=RULE):
    return judge_body(read_body(clean_points(points), width, height, rule), rule)


@pytest.mark.parametrize(
    ("points", "verdict", "value"),
    [
        (standing(), None, None),  # everything is seen
        (standing(p0=0.0), None, None),  # the nose is turned away, the ears are seen
        (standing(p0=0.1, p17=0.2, p18=0.25), Verdict.NO_HEAD, 0.25),  # best head point decides
        (standing(p4=0.1), Verdict.NO_HANDS, 0.1),  # right hand missing
        (standing(p7=0.2), Verdict.NO_HANDS, 0.2),  # left hand missing
        (standing(p4=0.2, p7=0.1), Verdict.NO_HANDS, 0.1),  # the worse hand decides
        (standing(p19=0.0), None, None),  # one toe of the left foot is enough
        (standing(p22=0.1), None, None),  # one toe of the right foot is enough
        (standing(p19=0.0, p20=0.1), Verdict.NO_FEET, 0.1),  # left foot missing
        (standing(p22=0.2, p23=0.0), Verdict.NO_FEET, 0.2),  # right foot missing
        (standing(p10=0.0, p13=0.0), None, None),  # knees are not asked for
        (standing(p0=0.3, p4=0.3, p7=0.3), None, None),  # the threshold itself passes
        (standing() * [1, 1, 0], Verdict.NO_HEAD, 0.0),  # nothing is confident
        (standing(shift=(0, 20)), Verdict.CUT_BY_FRAME, -2 / 92),  # toes below the frame, still confident
        (standing(shift=(0, 17)), Verdict.CUT_BY_FRAME, 1 / 92),  # inside, nearer than the margin
        (standing(shift=(0, 16)), None, None),  # inside, outside the margin
    ],
)
def test_rule(points, verdict, value):
    outcome = judge(points.astype(np.float32))
    if verdict is None:
        assert outcome is None
    else:
        assert outcome == (verdict, pytest.approx(value, abs=1e-5))


def test_the_thresholds_themselves_pass():
    # One half and one eighth are exact in binary: equal means equal.
    points = standing(p0=0.5, p4=0.5, p7=0.5)
    assert judge(points, rule=FullBodyRule(min_confidence=0.5)) is None
    margin = read_body(points, WIDTH, HEIGHT, RULE).margin
    assert judge(points, rule=FullBodyRule(min_confidence=0.5, frame_margin=margin)) is None


def test_without_a_threshold_an_absent_point_is_still_absent():
    rule = FullBodyRule(min_confidence=0)
    assert judge(standing(p4=0.0), rule=rule) == (Verdict.NO_HANDS, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_point_that_is_no_number_is_absent(bad, column):
    points = standing()
    points[4, column] = bad
    assert judge(points) == (Verdict.NO_HANDS, 0.0)


confidences = arrays(np.float32, 25, elements=st.floats(0, 1, width=32))
shifts = st.tuples(st.integers(-40, 40), st.integers(-40, 40))


def random_pose(confidence, shift):
    points = standing(shift=shift)
    points[:, 2] = confidence
    return points


@given(confidences, shifts, st.sampled_from([0.5, 2.0, 4.0]))
def test_the_size_of_the_picture_does_not_matter(confidence, shift, factor):
    points = random_pose(confidence, shift)
    scaled = points * np.array([factor, factor, 1], np.float32)
    small, large = judge(points), judge(scaled, WIDTH * factor, HEIGHT * factor)
    # At least one confident pair keeps the extent well above the one pixel floor.
    assert (small is None) == (large is None)
    if small is not None and large is not None:
        assert small[0] == large[0]


@given(confidences, shifts)
def test_a_mirrored_picture_is_judged_the_same(confidence, shift):
    points = random_pose(confidence, shift)
    here, there = judge(points), judge(mirrored(points, WIDTH))
    assert (here is None) == (there is None)
    if here is not None and there is not None:
        assert here[0] == there[0]
        assert here[1] == pytest.approx(there[1], abs=1e-4)


def test_mirroring_exchanges_the_hands():
    points = standing(p4=0.4, p7=0.8)
    here = read_body(points, WIDTH, HEIGHT, RULE)
    there = read_body(mirrored(points, WIDTH), WIDTH, HEIGHT, RULE)
    assert (here.right_wrist, here.left_wrist) == (there.left_wrist, there.right_wrist)


@given(confidences, shifts)
def test_whoever_passes_has_every_required_point_inside_the_frame(confidence, shift):
    points = random_pose(confidence, shift)
    if judge(points) is None:
        inside = (points[:, 0] > 0) & (points[:, 0] < WIDTH) & (points[:, 1] > 0) & (points[:, 1] < HEIGHT)
        seen = inside & (points[:, 2] >= RULE.min_confidence)
        assert seen[list(RULE.head_points)].any()
        assert seen[[4, 7]].all()
        assert seen[[19, 20]].any()
        assert seen[[22, 23]].any()


def test_margin_without_a_confident_point_is_zero():
    assert frame_margin(np.zeros((25, 3), np.float32), WIDTH, HEIGHT, 0.3) == 0.0


@pytest.mark.parametrize(
    ("given", "lacking"),
    [
        (set(range(25)) - set(range(19, 25)), "toes of the left foot, toes of the right foot"),  # COCO-18
        (set(range(25)) - {0, 17, 18}, "head"),  # no nose and no ears
        (set(range(25)) - {4}, "right hand"),
        (set(range(25)) - {7}, "left hand"),
    ],
)
def test_a_model_that_can_never_pass_is_refused_by_name(given, lacking):
    with pytest.raises(SettingsError, match=f"model slim has no points for the {lacking},"):
        require_points("slim", frozenset(given), FullBodyRule())


def test_a_model_without_small_toes_is_enough():
    require_points("blazepose", frozenset(range(25)) - {20, 23}, FullBodyRule())
