"""What workers hold and have taken, as the whole system is told of it: on Valkey, and by a real worker."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import slow_worker
from redis_servers import until
from servers_clock import ServersClock

from broker.app import create_app
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.errors import BrokerUnavailable
from broker.held_requests import HeldRequests
from broker.presence import ALIVE_SECONDS
from broker.settings import Settings, load_settings
from broker.work_counts import WorkCounts

HELPERS = Path(__file__).parents[1] / "helpers"
WORKER = """
from broker import presence_beat
presence_beat.BEAT_SECONDS = 0.3
import slow_worker
slow_worker.main()
"""
"""One that tells more often, so that nobody has to wait for it."""


@pytest.fixture
def counts(server: EmbeddedBroker, clock: ServersClock, request: pytest.FixtureRequest) -> WorkCounts:
    """By a clock that goes on when it is told to."""
    return WorkCounts(Control(server.url, f"{request.node.name}:"))


def test_what_living_workers_hold_is_added_up(counts: WorkCounts) -> None:
    counts.tell("a:1", {"pose": 1}, [])
    counts.tell("b:1", {"pose": 1, "download": 4}, [])
    assert counts.running() == {"pose": 2, "download": 4}
    counts.tell("b:1", {}, [])
    assert counts.running() == {"pose": 1}
    counts.forget("a:1")
    assert counts.running() == {}


def test_who_is_not_heard_of_holds_nothing(counts: WorkCounts, clock: ServersClock) -> None:
    counts.tell("a:1", {"pose": 1}, [])
    clock.go_on(ALIVE_SECONDS)
    assert counts.running() == {"pose": 1}
    clock.go_on(0.001)
    counts.tell("b:1", {"mask": 1}, [])
    assert counts.running() == {"mask": 1}
    assert counts.running(within=3600) == {"mask": 1}, "it is forgotten, not only passed over"


def test_a_queue_is_stalled_while_messages_wait_and_nobody_takes_one(
    counts: WorkCounts, clock: ServersClock
) -> None:
    counts.tell("a:1", {}, ["pose"])
    clock.go_on(20)
    # Nothing was taken for a while, but nothing waited either: it begins with the first that waits.
    assert counts.stalled({"pose": 3, "mask": 0}) == {"pose": 0, "mask": 0}
    clock.go_on(20)
    assert counts.stalled({"pose": 3, "mask": 0}) == {"pose": 20, "mask": 0}
    counts.tell("a:1", {"pose": 1}, ["pose"])
    clock.go_on(1)
    assert counts.stalled({"pose": 2}) == {"pose": 1}, "a long queue that moves is not stalled"
    assert counts.stalled({"pose": 0}) == {"pose": 0}
    assert counts.stalled({}) == {}


def test_a_server_that_is_away_is_a_typed_error() -> None:
    with pytest.raises(BrokerUnavailable):
        WorkCounts(Control("redis://127.0.0.1:1/0")).running()


@pytest.mark.parametrize(
    ("key", "queue"),
    [
        ("pose", "pose"),
        ("me.lab", "me.lab"),  # a queue of a device's own has a dot in its name
        ("0.0.1.0.pose", "pose"),  # delayed delivery on RabbitMQ
        ("celery", "celery"),  # no queue of ours
    ],
)
def test_the_queue_of_a_message_is_its_routing_key(key: str, queue: str) -> None:
    class Request:
        delivery_info = {"routing_key": key}  # noqa: RUF012 - as Celery's request has it

    assert HeldRequests(("pose", "me.lab")).queue_of(Request()) == queue


def test_a_worker_tells_what_it_holds_and_that_it_ended(server: EmbeddedBroker, tmp_path: Path) -> None:
    settings = load_settings(broker_url=server.url, namespace="told")
    counts, notes = WorkCounts(Control.of(settings)), tmp_path / "notes"
    with create_app(settings) as app:
        for name in ("one", "two"):
            app.send_task("slow", args=(name, None), queue="slow")
    waiting = Control.of(settings).lengths
    with _worker(settings, notes):
        until(lambda: "begin one" in (notes.read_text() if notes.exists() else ""), "the first")
        until(lambda: counts.running() == {"slow": 1}, "one that is held")
        assert waiting(["slow"]) == ({"slow": 1}, 1)
        slow_worker.let_go(notes, "one")
        until(lambda: "begin two" in notes.read_text(), "the second")
        until(lambda: counts.running() == {"slow": 1} and waiting(["slow"]) == ({"slow": 0}, 1), "it is held")
        slow_worker.let_go(notes, "two")
        until(lambda: counts.running() == {}, "nothing that is held")
    control = Control.of(settings)
    with control.server() as valkey:
        assert valkey.hlen(control.key("workers:held")) == 0, "it has not said that it ended"


@contextmanager
def _worker(settings: Settings, notes: Path) -> Iterator[None]:
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(HELPERS)}
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(notes), "plain"], env=environment)
    try:
        yield
        worker.terminate()
        worker.wait(200)
    finally:
        worker.kill()
        worker.wait()
