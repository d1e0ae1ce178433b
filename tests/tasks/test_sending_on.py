"""What leaves a task while the link holds, and while it does not: the next stage, a failure, what waits."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, signature
from celery.app.task import Context
from celery.app.trace import LOG_REJECTED
from celery.exceptions import Reject
from samples_of_books import a_plan, a_video

from broker.app import create_app
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.errors import BrokerUnavailable
from broker.messages import SegmentResult
from broker.settings import Settings, load_settings
from tasks import retrying
from tasks.sending_on import check_not_done, failed, note_done, send_on
from tasks.voids import MessageVoid
from workers.devices.errors import DeviceAway

NOWHERE = "redis://127.0.0.1:1/0"


class AtWork:
    """A task in the middle of its work, as far as ours look at it."""

    def __init__(self, app: Celery, **request: Any) -> None:
        self.app = app
        self.request = Context(id="here", root_id="root", retries=0, **request)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture
def settings(broker: EmbeddedBroker) -> Settings:
    return load_settings(broker_url=broker.url)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "RETRY_SECONDS", 0)
    monkeypatch.setattr(retrying, "AWAY_SECONDS", 0.0)


def chain_of(app: Celery) -> list[Any]:
    """Of two more tasks, the next one last."""
    names = {"hardpose.compare": "compare", "hardpose.me": "me.x"}
    return [dict(signature(name, queue=queue, priority=6, app=app)) for name, queue in names.items()]


def result() -> SegmentResult:
    (segment,) = a_plan(a_video(), 1)
    return SegmentResult(segment=segment)


def test_the_next_task_is_sent_as_celery_would(settings: Settings) -> None:
    with create_app(settings) as app, app.connection_for_read() as connection:
        task = AtWork(app, chain=chain_of(app))
        send_on(task, result())
        assert task.request.chain is None, "Celery has nothing left to do"
        message = connection.SimpleQueue("me.x").get(timeout=60)
        message.ack()
    assert (message.headers["root_id"], message.headers["parent_id"]) == ("root", "here")
    assert message.properties["priority"] == 6
    _, _, after = message.payload
    assert [each["task"] for each in after["chain"]] == ["hardpose.compare"]


def test_what_cannot_be_sent_goes_back_with_its_chain() -> None:
    with create_app(load_settings(broker_url=NOWHERE)) as app:
        task = AtWork(app, chain=chain_of(app))
        with pytest.raises(BrokerUnavailable):
            send_on(task, result())
        assert len(task.request.chain or []) == 2


def test_a_failure_is_told_before_its_message_is_acknowledged() -> None:
    error, told = ValueError("no good"), []

    def tell(*said: Any, **more: Any) -> None:
        told.append((said[1], more))

    def away(*said: Any, **more: Any) -> None:
        app.send_task("hardpose.record_segment_failure", queue="compare")

    with create_app(load_settings(broker_url=NOWHERE)) as app:
        task = AtWork(app, errbacks=[{"kwargs": {"books_queue": "compare"}}])
        back = failed(task, error, away)
        assert isinstance(back, Reject) and back.requeue
        assert task.request.errbacks, "they are asked again when it is delivered again"
        assert failed(task, error, tell) is error
    assert told == [(error, {"books_queue": "compare"})]
    assert not task.request.errbacks


def test_work_that_was_handed_on_is_not_done_again(settings: Settings) -> None:
    control = Control.of(settings)
    with create_app(settings) as app:
        first = AtWork(app, delivery_info={"redelivered": False})
        again = AtWork(app, delivery_info={"redelivered": True})
        check_not_done(again, control, "a")
        note_done(control, "a")
        check_not_done(first, control, "a")  # a new message, such as one that was sent anew
        with pytest.raises(MessageVoid):
            check_not_done(again, control, "a")
        check_not_done(again, control, "b")


def test_a_device_that_stays_away_is_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pauses, now, given = retrying.AwayPause(), 100.0, []
    for _ in range(5):
        given.append(pauses.pause(now))
        now += given[-1] + 1
    assert given == [5.0, 10.0, 15.0, 15.0, 15.0]
    assert pauses.pause(now + 60) == 5.0, "it has answered meanwhile"


def test_a_segment_that_waits_for_its_device_goes_back_and_fills_no_log(tmp_path: Path) -> None:
    back = retrying.put_back(DeviceAway("The device is off.", "Switch it on."))
    assert isinstance(back, Reject) and back.requeue
    fault = (ValueError, ValueError("x"), None)
    said = logging.LogRecord("celery.app.trace", logging.WARNING, "", 0, LOG_REJECTED.strip(), None, fault)
    other = logging.LogRecord("celery.app.trace", logging.ERROR, "", 0, "another", None, fault)
    assert retrying.told_in_a_line(said) and said.exc_info is None
    assert retrying.told_in_a_line(other) and other.exc_info is not None
