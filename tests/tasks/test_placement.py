from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import SettingsError
from broker.recipe import CHAIN
from tasks.placement import Placement, all_groups, queue_name

SEPARATORS = [dict(zip(("a", "b", "c"), choice, strict=True)) for choice in product("|+", repeat=3)]


@pytest.mark.parametrize("cuts", SEPARATORS)  # all eight contiguous groupings of four stages
def test_every_contiguous_grouping_is_a_placement(cuts: dict[str, str]) -> None:
    text = "pose {a} mask {b} me {c} compare".format(**cuts)
    placement = Placement.parse(text)
    assert tuple(stage for group in placement.groups for stage in group) == CHAIN
    assert len(placement.groups) == 1 + list(cuts.values()).count("|")
    assert all(group in all_groups() for group in placement.groups)
    assert placement.books_queue.endswith("compare")


def test_there_are_ten_groups_each_with_a_queue_of_its_own() -> None:
    assert len({queue_name(group) for group in all_groups()}) == 10


@given(st.lists(st.sampled_from(["pose", "mask", "me", "compare", "", "download"]), max_size=6), st.data())
def test_anything_else_is_refused_with_a_remedy(stages: list[str], data: st.DataObject) -> None:
    separators = [data.draw(st.sampled_from(["|", "+", " | "])) for _ in stages]
    text = "".join(a + b for a, b in zip(stages, separators, strict=True)).rstrip("|+ ")
    if tuple(name for name in text.replace("+", "|").replace(" ", "").split("|")) == CHAIN:
        return
    with pytest.raises(SettingsError, match="HARDPOSE_PLACEMENT"):
        Placement.parse(text)
