"""Which queues count as being in front of a device, for a segment and for a replay."""

import pytest
from announced_devices import device_spec
from samples_of_books import RECIPE, a_plan, a_video

from broker.recipe import Stage
from tasks.backlog_gate import queues_ahead
from tasks.placement import Placement


@pytest.mark.parametrize(
    ("placement", "stages", "ahead"),
    [
        ("pose | mask | me | compare", "pose", ("mask", "me.me-2")),
        ("pose+mask | me | compare", "pose+mask", ("me.me-2",)),
        ("pose | mask | me | compare", "mask", ()),  # it has passed the gate
        ("pose | mask | me | compare", "me", ()),
        ("pose | mask | me | compare", "", ("me.me-2",)),  # a replay
    ],
)
def test_the_queues_in_front_of_a_device(placement: str, stages: str, ahead: tuple[str, ...]) -> None:
    recipe = RECIPE.model_copy(update={"device_model": device_spec(queue="me.me-2")})
    (segment,) = a_plan(a_video(), 1, recipe=recipe)
    group = tuple(Stage(name) for name in stages.split("+") if name)
    assert queues_ahead(Placement.parse(placement), group, segment) == ahead


@pytest.mark.parametrize(
    ("placement", "stages", "ahead"),
    [
        ("pose | mask+me | compare", "pose", ("mask+me",)),
        ("pose | mask+me | compare", "", ("mask+me",)),
        ("pose | mask | me+compare", "", ()),  # a replay itself waits there
        ("pose+mask+me | compare", "pose+mask+me", ()),  # nothing runs ahead
    ],
)
def test_a_device_that_shares_a_process_is_emulated(
    placement: str, stages: str, ahead: tuple[str, ...]
) -> None:
    group = tuple(Stage(name) for name in stages.split("+") if name)
    (segment,) = a_plan(a_video(), 1)
    assert queues_ahead(Placement.parse(placement), group, segment) == ahead
