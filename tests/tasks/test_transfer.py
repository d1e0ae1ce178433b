"""What a link holds while it is fetched; and that its outcome stands when broker or catalog go away."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery.exceptions import Reject
from pydantic import SecretStr

from broker.app import create_app
from broker.embedded import EmbeddedBroker
from broker.errors import BrokerUnavailable
from broker.parking import ParkedLink, Parking
from broker.settings import Settings, load_settings
from tasks import celery_download, retrying
from tasks.pipeline import send_link
from tasks.readable import LinkFailed
from tasks.runtime import Runtime
from tasks.transfer import SILENT_SECONDS, Errand, PutBack, Transfer
from workers.downloads.contracts import Metadata
from workers.downloads.errors import BotCheck, ExtractionFailed, VideoPrivate
from workers.downloads.limits import egress_of

LINK = "https://www.youtube.com/watch?v=abcdefghijk"
VIDEO = "youtube:abcdefghijk"
FOUND = Metadata(VIDEO, LINK, "A dance")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "broker") as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path, broker: EmbeddedBroker) -> Settings:
    return load_settings(home=tmp_path / "state", broker_url=broker.url)


@pytest.fixture
def runtime(settings: Settings) -> Runtime:
    made = Runtime(settings)
    made.catalog.create_job("job", made.recipe(), [LINK])
    return made


@pytest.fixture
def transfer(runtime: Runtime) -> Transfer:
    return one(runtime, "1")


def one(runtime: Runtime, ticket: str) -> Transfer:
    return Transfer(runtime, Errand("job", 0, LINK, ticket), runtime.catalog.link_order("job", 0))


def break_claims(settings: Settings) -> None:
    with closing(sqlite3.connect(settings.home / "catalog.sqlite")) as books:
        books.execute("DROP TABLE claims")


def test_a_claim_that_cannot_be_given_back_is_no_failure(
    settings: Settings, transfer: Transfer, caplog: pytest.LogCaptureFixture
) -> None:
    with transfer.held():
        transfer.claim(VIDEO)
        break_claims(settings)
    assert "the claim on youtube:abcdefghijk is left to run out" in caplog.text


def test_a_claim_that_cannot_be_given_back_hides_no_error(settings: Settings, transfer: Transfer) -> None:
    with pytest.raises(ZeroDivisionError), transfer.held():
        transfer.claim(VIDEO)
        break_claims(settings)
        raise ZeroDivisionError


def test_a_claim_is_given_back_whatever_ends_the_fetch(runtime: Runtime, transfer: Transfer) -> None:
    with pytest.raises(KeyboardInterrupt), transfer.held():
        transfer.claim(VIDEO)
        assert runtime.catalog.claimed(VIDEO) == "job:0:1"
        raise KeyboardInterrupt
    assert runtime.catalog.claimed(VIDEO) is None


@pytest.mark.parametrize(
    ("error", "then"),
    [
        (ZeroDivisionError(), None),  # a fault of ours says nothing of the site: another one tries at once
        (ExtractionFailed("no player", "update"), None),  # nor does a tool's
        (VideoPrivate("private", "none"), "closed"),  # an answer as it should be
        (None, "closed"),
    ],
)
def test_role_of_the_probe_is_given_back_whatever_ends_the_fetch(
    settings: Settings, runtime: Runtime, error: Exception | None, then: str | None
) -> None:
    quick = settings.downloads.model_copy(update={"videos_per_hour": 36000.0})
    runtime.settings = settings.model_copy(update={"downloads": quick})
    egress = egress_of(runtime.settings, runtime.control)
    egress.poisoned("somebody", "bot?")
    with runtime.control.server() as server:  # the pause is over
        server.hset(runtime.control.key(f"egress:{egress.identity}:state"), "until", "0")
    first, second = (
        one(runtime, "1"),
        Transfer(runtime, Errand("job", 1, LINK, "1"), runtime.catalog.link_order("job", 0)),
    )
    with first.held(), second.held():
        first.asking("yt-dlp")
        with pytest.raises(PutBack, match="probe"):
            second.asking("yt-dlp")
        first.ended(error)
        second.asking("yt-dlp")
        assert egress.view().breaker == (then or "half_open")


def test_broker_away_stops_no_transfer(
    broker: EmbeddedBroker, transfer: Transfer, caplog: pytest.LogCaptureFixture
) -> None:
    with transfer.held():
        transfer.asking("yt-dlp")
        transfer.found(FOUND)
        transfer.moved(1, 2)
        broker.stop()
        transfer._moved = 0.0
        transfer.moved(2, 2)
        transfer.outdated(ExtractionFailed("no player", "update"))
        transfer.ended(VideoPrivate("private", "none"))
        transfer.ended(None)
    for told in ("progress of a transfer", "no alert", "breaker was not told", "may still be shown"):
        assert told in caplog.text


def test_broker_that_is_away_is_asked_seldom(
    broker: EmbeddedBroker,
    transfer: Transfer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def told_of() -> int:
        return caplog.text.count("the progress of a transfer is not shown")

    now = 1000.0
    monkeypatch.setattr("tasks.transfer.time", SimpleNamespace(monotonic=lambda: now))
    with transfer.held():
        transfer.asking("yt-dlp")
        broker.stop()
        transfer.moved(1, None)
        assert told_of() == 1
        for received in range(1000):
            now += 0.01  # for ten seconds, which is less than it is left alone
            transfer.moved(received, None)
        assert told_of() == 1
        now += 10
        transfer.moved(1001, None)
        assert told_of() == 2


def test_poisoned_session_is_never_lost(broker: EmbeddedBroker, transfer: Transfer) -> None:
    with transfer.held():
        transfer.asking("yt-dlp")
        broker.stop()
        with pytest.raises(BrokerUnavailable):  # the message goes back, and the site will say it again
            transfer.ended(BotCheck("bot?", "wait"))


def test_link_sent_anew_takes_over_from_a_worker_that_was_stopped(runtime: Runtime) -> None:
    older, newer = one(runtime, "1"), one(runtime, "2")
    with older.held():
        older.claim(VIDEO)
        with pytest.raises(PutBack, match="claimed"), newer.held():
            newer.claim(VIDEO)  # the older one still renews
        runtime.catalog.claim(VIDEO, "job:0:1", 60 - SILENT_SECONDS)  # as it stands after that silence
        other = Transfer(runtime, replace(newer._errand, position=1, ticket="9"), newer._order)
        with pytest.raises(PutBack, match="claimed"), other.held():
            other.claim(VIDEO)  # another link waits for the whole lease
        with newer.held():
            newer.claim(VIDEO)
            assert runtime.catalog.claimed(VIDEO) == "job:0:2"


def test_message_of_an_older_sending_is_not_shown_as_waiting(runtime: Runtime, settings: Settings) -> None:
    parking = Parking(runtime.control)
    parking.park(ParkedLink(job_id="job", position=0, link=LINK, task_id="x", reason="breaker"), 3600)
    with create_app(settings) as app:
        send_link(app, runtime, "job", 0, LINK)
    assert parking.waiting().total == 0
    assert runtime.control.messages(["download"]) == 1


@pytest.fixture
def mute(settings: Settings, broker: EmbeddedBroker) -> Settings:
    """A system whose broker is away while its shared state is not."""
    away = SecretStr("redis://127.0.0.1:1/0")
    return settings.model_copy(update={"broker_url": away, "control_url": SecretStr(broker.url)})


def test_message_that_cannot_be_sent_is_a_broker_away(mute: Settings) -> None:
    with create_app(mute) as app, pytest.raises(BrokerUnavailable, match="takes no message"):
        send_link(app, Runtime(mute), "job", 0, LINK)


def test_retry_that_cannot_be_sent_gives_the_message_back(mute: Settings) -> None:
    with create_app(mute) as app:
        task = app.tasks[celery_download.download_link.name]
        task.push_request(
            id="x", args=["job", 0, LINK], kwargs={}, retries=0, called_directly=False, is_eager=False,
            delivery_info={"exchange": "", "routing_key": "download"},
        )  # fmt: skip
        try:
            ended = retrying.again(task, VideoPrivate("as if it were", "transient"))
        finally:
            task.pop_request()
    assert isinstance(ended, Reject) and ended.requeue is True


def test_fault_while_a_failure_is_dealt_with_leaves_no_link_running(
    runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "http://nowhere.invalid/dance.mp4"  # no address is known: a failure that is tried again
    runtime.catalog.create_job("other", runtime.recipe(), [nowhere])

    def faulty(*_: object) -> None:
        raise NameError("a defect of ours")

    monkeypatch.setattr(celery_download, "process_runtime", lambda: runtime)
    monkeypatch.setattr(celery_download, "_tell", faulty)
    with create_app(settings) as app:
        task = app.tasks[celery_download.download_link.name]
        task.push_request(id="x", retries=0, called_directly=False, is_eager=False)
        try:
            with pytest.raises(LinkFailed, match="a defect of ours"):
                task.run("other", 0, nowhere)
        finally:
            task.pop_request()
    (link,) = runtime.catalog.job_light("other").links
    assert link.failure is not None and link.failure.code == "unexpected"
    assert "a defect of ours" in link.failure.cause
