"""Priorities: as numbers of two kinds of broker, on every task of a chain, and after a wait."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from samples_of_books import RECIPE, a_plan, a_video

from broker.app import create_app
from broker.control import PRIORITY_SEPARATOR, PRIORITY_STEPS
from broker.embedded import EmbeddedBroker
from broker.parking import ParkedLink
from broker.parking_pump import send
from broker.priority import Priority, message_priority
from broker.settings import load_settings
from tasks.pipeline import segment_chain, send_links
from tasks.placement import Placement
from tasks.runtime import Runtime

URGENCY = (Priority.HIGH, Priority.NORMAL, Priority.LOW)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        yield Runtime(load_settings(home=tmp_path / "state", broker_url=broker.url))


def test_the_two_kinds_of_broker_count_in_opposite_ways() -> None:
    redis, amqp = load_settings(broker_url="redis://host"), load_settings(broker_url="amqp://host")
    on_redis = [message_priority(redis, each) for each in URGENCY]
    assert on_redis == sorted(on_redis) and set(on_redis) < set(PRIORITY_STEPS)
    on_amqp = [message_priority(amqp, each) for each in URGENCY]
    assert on_amqp == sorted(on_amqp, reverse=True)
    assert on_amqp[0] > 4 >= on_amqp[1]  # the two levels that quorum queues know


def test_a_job_s_priority_is_on_all_that_is_sent_of_it(runtime: Runtime) -> None:
    runtime.catalog.create_job("job", RECIPE, ["a.mp4"], priority=Priority.LOW)
    (segment,) = a_plan(a_video(), 1)
    with create_app(runtime.settings) as app:
        canvas = segment_chain(app, segment, Placement.parse("pose | mask | me | compare"), 6)
        assert [task.options["priority"] for task in canvas.tasks] == [6] * 4
        assert send_links(app, runtime, "job") == 1
        waited = ParkedLink(job_id="job", position=0, link="a", task_id="t", reason="rate", priority=6)
        send(app, waited)
        assert waiting(runtime, 6) == 2
        runtime.catalog.create_job("job", RECIPE, ["a.mp4"], priority=Priority.HIGH)  # asked again, urgently
        send_links(app, runtime, "job")
    assert (waiting(runtime, 0), waiting(runtime, 6)) == (1, 2)


def waiting(runtime: Runtime, step: int) -> int:
    with runtime.control.server() as server:
        return int(server.llen("download" + (f"{PRIORITY_SEPARATOR}{step}" if step else "")))
