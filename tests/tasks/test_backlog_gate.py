"""Which queues count as being in front of a device, for a segment and for a replay, and how many may wait."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from announced_devices import device_spec
from celery import Celery
from samples_of_books import RECIPE, a_plan, a_video

from broker.app import create_app
from broker.backlog import Backlog
from broker.embedded import EmbeddedBroker
from broker.recipe import ModelSpec, Stage
from broker.settings import load_settings
from tasks.backlog_gate import SegmentHeld, check_room, queues_ahead
from tasks.placement import Placement
from tasks.runtime import Runtime


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


def test_fewer_may_wait_where_the_messages_hold_the_pictures(tmp_path: Path) -> None:
    inline = device_spec(queue="me.me-2")
    assert inline.route is not None
    store = inline.model_copy(update={"route": inline.route.model_copy(update={"pixels": "store"})})
    with EmbeddedBroker(tmp_path / "broker") as broker:
        given = load_settings(
            home=tmp_path, broker_url=broker.url, device_backlog=4, inline_backlog=2, placement=WAY
        )
        runtime = Runtime(given)
        with create_app(given) as app:
            assert [passed(app, runtime, device) for device in (inline, store)] == [2, 4]
        assert Backlog(runtime.control).counts() == {"me.me-2": 6 - 2 + 6 - 4}


WAY = "pose+mask | me | compare"


def passed(app: Celery, runtime: Runtime, device: ModelSpec) -> int:
    """How many of six segments go on, each of which then waits for the device; ends with an empty queue."""
    recipe, gone = RECIPE.model_copy(update={"device_model": device}), 0
    for segment in a_plan(a_video(device.route.pixels if device.route else ""), 6, recipe=recipe):
        try:
            check_room(a_task(app), runtime, (Stage.POSE, Stage.MASK), segment)
        except SegmentHeld:
            continue
        gone += 1
        app.send_task("x", queue="me.me-2")
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge("me.me-2")
    with runtime.control.server() as server:
        server.delete(runtime.control.key("held:waiting:me.me-2"))  # who comes next is first
    return gone


def a_task(app: Celery) -> Any:
    message = app.signature("hardpose.pose+mask", queue="pose+mask")
    return SimpleNamespace(
        app=app, request=SimpleNamespace(delivery_info={}), signature_from_request=lambda: message
    )
