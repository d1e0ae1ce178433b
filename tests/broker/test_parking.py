"""Parked messages on a real server, and the pump in a real worker."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from redis_servers import until
from servers_clock import ServersClock

from broker import parking as module
from broker.alerts import ALERT_SECONDS
from broker.app import create_app
from broker.control import PARKED, Control
from broker.egress import Egress
from broker.embedded import EmbeddedBroker
from broker.messages import Segment
from broker.parking import ParkedLink, Parking
from broker.parking_pump import send_due
from broker.settings import Settings, load_settings
from broker.transfers import STALE_SECONDS

NAMESPACES = iter(f"parking-{i}" for i in range(1000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    folder: Path = tmp_path_factory.mktemp("parking")
    with EmbeddedBroker(folder) as broker:
        yield broker


@pytest.fixture
def settings(server: EmbeddedBroker) -> Settings:
    return load_settings(broker_url=server.url, namespace=next(NAMESPACES))


@pytest.fixture
def control(settings: Settings) -> Control:
    return Control.of(settings)


@pytest.fixture
def parking(control: Control) -> Parking:
    return Parking(control)


def a_message(position: int = 0, reason: str = "rate", **more: Any) -> ParkedLink:
    fields = {"job_id": "job", "link": f"https://a.example/{position}", "task_id": f"task-{position}", **more}
    return ParkedLink(position=position, reason=reason, **fields)


def positions(messages: list[ParkedLink]) -> list[int]:
    return [message.position for message in messages]


def test_a_message_comes_when_it_is_due_whole_and_not_before(parking: Parking, clock: ServersClock) -> None:
    message = a_message(3, ticket="0001", retries=2, soft_time_limit=10, time_limit=20)
    parking.park(message, 30)
    clock.go_on(29.999)
    assert parking.due(10) == []
    clock.go_on(0.002)
    (due,) = parking.due(10)
    assert due.model_copy(update={"serial": 0}) == message


def test_the_first_due_comes_first_and_a_batch_is_bounded(parking: Parking, clock: ServersClock) -> None:
    for position, seconds in ((0, 20), (1, 0), (2, 40), (3, 60)):
        parking.park(a_message(position), seconds)
    clock.go_on(50)
    assert positions(parking.due(2)) == [1, 0]
    assert positions(parking.due(2)) == [2]


def test_what_is_taken_and_not_sent_comes_again(parking: Parking, clock: ServersClock) -> None:
    parking.park(a_message(0), 0)
    parking.park(a_message(1), 0)
    first, _ = parking.due(10)
    assert parking.due(10) == []  # nobody else is given them meanwhile
    parking.sent(first)
    clock.go_on(module.SEND_SECONDS + 0.001)  # the one who took the other has died
    assert positions(parking.due(10)) == [1]


def test_parking_a_link_again_replaces_its_message(parking: Parking) -> None:
    parking.park(a_message(0, reason="rate"), 60)
    parking.park(a_message(0, reason="breaker", retries=1), 0)
    assert parking.waiting().by_reason == {"breaker": 1}
    (due,) = parking.due(10)
    assert due.retries == 1


def test_a_link_that_is_parked_anew_before_its_sender_says_so_is_not_lost(parking: Parking) -> None:
    parking.park(a_message(0), 0)
    (sent,) = parking.due(10)
    parking.park(a_message(0), 0)  # a worker was quick: the very same message has to wait again
    parking.sent(sent)
    assert positions(parking.due(10)) == [0]


def test_a_message_is_given_to_one_sender_only(parking: Parking) -> None:
    for position in range(200):
        parking.park(a_message(position), 0)
    taken: list[int] = []
    start = threading.Barrier(8)

    def take() -> None:
        start.wait()
        while due := parking.due(7):
            taken.extend(positions(due))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(200))


def test_a_dropped_message_is_gone(parking: Parking) -> None:
    parking.park(a_message(0), 0)
    parking.drop("job", 0)
    parking.drop("job", 1)  # none there
    assert parking.due(10) == []
    assert parking.waiting().total == 0


def test_what_waits_and_why_can_be_seen(parking: Parking, clock: ServersClock) -> None:
    assert (parking.waiting().by_reason, parking.waiting().next_seconds) == ({}, None)
    for position, reason, seconds in ((0, "rate", 10), (1, "rate", 20), (12, "breaker", 3000)):
        parking.park(a_message(position, reason), seconds)
    parking.park(a_message(0, "claimed", job_id="job1"), 5)
    waiting = parking.waiting()
    assert waiting.by_reason == {"breaker": 1, "claimed": 1, "rate": 2}
    assert waiting.next_seconds == 5
    rows = parking.of_job("job")  # and not of job1
    assert [(position, reason) for position, (reason, _) in rows.items()] == [
        (0, "rate"),
        (1, "rate"),
        (12, "breaker"),
    ]
    assert rows[12][1] == 3000
    assert parking.of_job("jo*") == {}


def test_a_message_of_another_version_is_left_to_a_worker_of_its_own(
    parking: Parking, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    parking.park(a_message(0), 0)
    parking.park(a_message(1), 0)
    with control.server() as redis:
        redis.hset(control.key(f"{PARKED}:messages"), "job:0", '7 {"version": 99}')
    assert positions(parking.due(10)) == [1]
    assert parking.waiting().total == 2
    assert "its own version" in caplog.text


def test_parked_messages_are_messages(parking: Parking, control: Control) -> None:
    assert control.messages(["download"]) == 0
    parking.park(a_message(0), 60)
    assert control.messages(["download"]) == 1


def test_a_new_run_drops_messages_and_remembers_what_sites_were_asked(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as broker:
        settings = load_settings(broker_url=broker.url)
        control = Control.of(settings)
        egress = Egress(control, "default", 3600, 2, 60, 60)
        for who in "abcd":
            egress.ask(who)
        egress.poisoned("a", "bot check")
        control.outdated_tool("yt-dlp", "2026.10.26", "what is this page")
        ticket = control.issue_link_ticket("job", 0)
        Parking(control).park(a_message(0, "breaker"), 60)
        control.transfer("job", 0, 1, 2, "yt-dlp")
        with create_app(settings) as app:
            app.send_task("hardpose.download", args=(), queue="download")
        assert control.link_superseded("job", 0, "0")

        control.clear_queue_state()

        assert control.messages(["download"]) == 0
        assert Parking(control).waiting().total == 0
        assert control.transfers("job") == []
        assert not control.link_superseded("job", 0, "0")
        view = egress.view()
        assert (view.breaker, view.granted, view.waiting) == (
            "open",
            2,
            0,
        )  # places of dead messages are free
        assert [alert.tool for alert in control.alerts()] == ["yt-dlp"]
        assert control.issue_link_ticket("job", 0) > ticket


# --- the pump ---


def test_a_message_is_sent_as_it_was(parking: Parking, settings: Settings, control: Control) -> None:
    parking.park(a_message(5, ticket="0007", retries=2, soft_time_limit=10, time_limit=20), 0)
    with create_app(settings) as app:
        assert send_due(app, parking) == 1
        assert control.messages(["download"]) == 1
        with app.connection_for_read() as connection:
            queue = connection.SimpleQueue("download")
            message = queue.get(timeout=100)
            message.ack()
            queue.close()
    assert message.headers["task"] == "hardpose.download"
    assert message.headers["id"] == "task-5"
    assert message.headers["retries"] == 2
    assert message.headers["timelimit"] == [20, 10]
    args, kwargs, _ = message.payload
    assert args == ["job", 5, "https://a.example/5"]
    assert kwargs == {"ticket": "0007"}
    assert control.messages(["download"]) == 0


WORKER = """
import sys
from broker import app as module
module.TASKS_MODULE = "parked_tasks"
from broker.settings import load_settings
queue = sys.argv[1]
app = module.create_app(load_settings(), (queue,))
app.worker_main(["worker", f"--queues={queue}", "--pool=threads", "--concurrency=1", "--loglevel=WARNING",
                 "--without-gossip", "--without-mingle"])
"""
TASKS = """
import os
from celery import shared_task
@shared_task(name="hardpose.download")
def download(job_id, position, link, ticket=""):
    with open(os.environ["SEEN"], "a") as file:
        file.write(f"{job_id} {position} {link} {ticket}\\n")
@shared_task(name="hardpose.pose")
def pose():
    with open(os.environ["SEEN"], "a") as file:
        file.write("pose\\n")
"""

Start = Callable[[str, Settings], Callable[[], list[str]]]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Start]:
    """Starts a real worker on a queue; gives what its tasks have seen."""
    (tmp_path / "parked_tasks.py").write_text(TASKS)
    seen, processes = tmp_path / "seen", []

    def begin(queue: str, settings: Settings) -> Callable[[], list[str]]:
        more = {"PYTHONPATH": str(tmp_path), "SEEN": str(seen), "HARDPOSE_NAMESPACE": settings.namespace}
        env = {**os.environ, **more, "HARDPOSE_BROKER_URL": settings.broker}
        processes.append(subprocess.Popen([sys.executable, "-c", WORKER, queue], env=env))
        return lambda: seen.read_text().splitlines() if seen.exists() else []

    yield begin
    for process in processes:
        process.kill()
        process.wait()


def test_a_worker_that_fetches_sends_what_is_due(
    worker: Start, parking: Parking, control: Control, settings: Settings
) -> None:
    for position in range(3):
        parking.park(a_message(position, ticket=f"t{position}"), 0)
    parking.park(a_message(9), 3600)
    seen = worker("download", settings)
    until(lambda: len(seen()) == 3, "all that is due")
    until(lambda: control.messages(["download"]) == 1, "the one that is not due")
    assert sorted(seen()) == [f"job {i} https://a.example/{i} t{i}" for i in range(3)]
    parking.park(a_message(4), 0.5)  # while it runs
    until(lambda: len(seen()) == 4, "the one that was parked meanwhile")


def test_a_worker_that_does_not_fetch_sends_nothing(
    worker: Start, parking: Parking, settings: Settings
) -> None:
    parking.park(a_message(0), 0)
    with create_app(settings) as app:
        app.send_task("hardpose.pose", args=(), queue="pose")
    seen = worker("pose", settings)
    until(lambda: seen() == ["pose"], "a worker that is up")
    time.sleep(1)
    assert parking.waiting().total == 1


def test_it_goes_on_after_a_restart_of_the_broker(
    worker: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "broker"
    port = free_port()  # that nobody else comes upon while the broker is away
    monkeypatch.setattr("broker.valkey.free_port", lambda: port)
    with EmbeddedBroker(folder) as broker:
        settings = load_settings(broker_url=broker.url)
        seen = worker("download", settings)
        Parking(Control.of(settings)).park(a_message(0), 0)
        until(lambda: len(seen()) == 1, "the first message")
        Parking(Control.of(settings)).park(a_message(1), 1)
    time.sleep(3)  # away for long enough to be noticed, and the message is overdue
    with EmbeddedBroker(folder):
        until(lambda: len(seen()) == 2, "the second message")


# --- tickets, transfers, alerts ---


def test_only_the_newest_message_of_a_link_is_valid(control: Control) -> None:
    assert not control.link_superseded("job", 0, "0001")  # a server without memory stops nobody
    first = control.issue_link_ticket("job", 0)
    assert not control.link_superseded("job", 0, first)
    second = control.issue_link_ticket("job", 0)
    assert second > first
    assert control.link_superseded("job", 0, first)
    assert not control.link_superseded("job", 0, second)
    assert not control.link_superseded("job", 0, "")  # a message of an earlier release
    assert not control.link_superseded("job", 1, first)


def test_tickets_grow_even_when_the_servers_clock_does_not(control: Control) -> None:
    with control.server() as redis:
        redis.set(control.key("ticket:link:job:0"), "4000000000000000")  # a clock that was far ahead
    assert control.issue_link_ticket("job", 0) == "4000000000000001"


def test_transfers_under_way_can_be_watched(control: Control, clock: ServersClock) -> None:
    control.transfer("job", 3, 1000, None, "local")
    control.transfer("job", 1, 500, 4000, "yt-dlp")
    clock.go_on(4)
    control.transfer("job", 1, 2500, 4000, "yt-dlp")
    control.transfer("other", 0, 1, 1, "local")
    first, second = control.transfers("job")
    assert (first.position, first.received, first.total, first.tool) == (1, 2500, 4000, "yt-dlp")
    assert (first.started, first.updated) == (clock.now - 4, clock.now)
    assert first.bytes_per_second == 500
    assert (second.position, second.total, second.bytes_per_second) == (3, None, 0)
    control.transfer_ended("job", 1)
    assert [transfer.position for transfer in control.transfers("job")] == [3]


def test_a_transfer_without_news_is_not_shown(control: Control, clock: ServersClock) -> None:
    control.transfer("job", 0, 1000, None, "local")
    clock.go_on(STALE_SECONDS)
    assert len(control.transfers("job")) == 1
    clock.go_on(0.001)
    assert control.transfers("job") == []


def test_a_transfer_that_begins_anew_counts_its_speed_anew(control: Control, clock: ServersClock) -> None:
    control.transfer("job", 0, 9_000_000, None, "yt-dlp")
    clock.go_on(1)
    control.transfer("job", 0, 0, None, "pytubefix")  # another tool, from the start
    clock.go_on(4)
    control.transfer("job", 0, 100, None, "pytubefix")
    (transfer,) = control.transfers("job")
    assert transfer.bytes_per_second == 25


def test_an_alert_counts_until_the_tool_works_again(control: Control, clock: ServersClock) -> None:
    for cause in ("first", 'second "quoted" é'):
        control.outdated_tool("yt-dlp", "2026.10.26", cause)
    control.outdated_tool("yt-dlp", "2026.11.01", "third")
    old, new = control.alerts()
    assert (old.tool, old.version, old.count, old.cause) == ("yt-dlp", "2026.10.26", 2, 'second "quoted" é')
    assert old.time == clock.now
    assert new.count == 1
    control.tool_works("yt-dlp", "2026.10.26")
    assert [alert.version for alert in control.alerts()] == ["2026.11.01"]


def test_an_alert_of_long_ago_is_dropped(control: Control, clock: ServersClock) -> None:
    control.outdated_tool("yt-dlp", "2026.10.26", "cause")
    clock.go_on(ALERT_SECONDS)
    assert len(control.alerts()) == 1
    clock.go_on(1)
    assert control.alerts() == []


def test_segments_and_links_keep_their_tickets_apart(control: Control) -> None:
    from samples_of_books import a_plan, a_video

    segment: Segment = a_plan(a_video(), 1)[0].model_copy(update={"ticket": "0"})
    control.issue_link_ticket("job", 0)
    assert not control.newer_ticket(segment)
