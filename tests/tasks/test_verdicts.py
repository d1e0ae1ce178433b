from hypothesis import given
from hypothesis import strategies as st

from broker.messages import Funnel, Verdict
from broker.settings import Settings
from tasks.verdicts import VERDICTS, explain_funnel

counts = st.dictionaries(st.sampled_from(list(Verdict)), st.integers(0, 1000))


def test_every_verdict_is_explained():
    assert set(VERDICTS) == set(Verdict)
    assert all(entry.measure and entry.text for entry in VERDICTS.values())


def test_every_named_setting_exists():
    names = [name for entry in VERDICTS.values() for name in entry.setting.split(", ") if name]
    assert len(names) > 10
    for name in names:
        first, *rest = name.removeprefix("HARDPOSE_").lower().split("__")
        field = Settings.model_fields[first]
        if rest:
            assert rest[0] in field.annotation.model_fields, name


@given(counts)
def test_reasons_come_by_count_and_leave_out_only_what_became_data(verdicts):
    funnel = Funnel(examined=sum(verdicts.values()), verdicts=verdicts)
    lines = explain_funnel(funnel)
    shown = [int(line.split()[0]) for line in lines]
    assert shown == sorted(shown, reverse=True)
    assert sum(shown) == funnel.examined - funnel.of(Verdict.HARD)
    assert all(f"of {funnel.examined} frames" in line for line in lines)


def test_a_line_names_reason_verdict_and_setting():
    (line,) = explain_funnel(Funnel(examined=4, verdicts={Verdict.NO_FEET: 3, Verdict.HARD: 1}))
    assert line == "3 of 4 frames: a foot is not seen (no_feet) [HARDPOSE_RULE__MIN_CONFIDENCE]"
