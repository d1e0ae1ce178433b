"""A RabbitMQ that takes nothing for a while, or has lost messages: orders are refused, and mended later."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import served
from hardpose_process import hardpose, start, wait_for
from kombu import Connection
from make_video import write_video
from odd_models_package import gate_of, install
from rabbitmq_server import PASSWORD, RabbitMQ

from api.exit_codes import ExitCode
from api.orders import book, enqueue, job_id_of
from broker.amqp_broker import WORKER_SECONDS, AmqpBroker
from broker.amqp_errors import BrokerBlocked
from broker.app import create_app
from broker.embedded import EmbeddedBroker
from broker.queue_lengths import all_messages
from broker.settings import Settings, load_settings
from broker.views import State
from tasks.celery_repair import repair_all
from tasks.pipeline import send_links
from tasks.repair_pump import LossWatch
from tasks.runtime import Runtime

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

QUEUES = ("download", "pose", "mask+me+compare")


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as running:
        yield running


@pytest.fixture(scope="module")
def settings(rabbit: RabbitMQ, server: EmbeddedBroker) -> Settings:
    return load_settings(broker_url=rabbit.url, control_url=server.url)


def empty(settings: Settings, *queues: str) -> None:
    AmqpBroker.of(settings).declare(queues)
    with Connection(settings.broker) as connection:
        for queue in queues:
            connection.default_channel.queue_purge(queue)


@contextmanager
def short_of_memory(rabbit: RabbitMQ) -> Iterator[None]:
    """It says so to those who send, some time after the ``with`` was entered."""
    rabbit.control("set_vm_memory_high_watermark", "absolute", "1")
    try:
        yield
    finally:
        rabbit.control("set_vm_memory_high_watermark", "0.4")


def blocked(send: Callable[[], object]) -> None:
    """Sends until that is refused with the server's reason: the alarm takes its time, patience is short."""

    def refused() -> bool:
        try:
            send()
        except BrokerBlocked as error:
            return "takes no messages" in str(error) and "low on memory" in str(error)
        return False

    wait_for(refused)


LINKS = [f"https://videos.example/{number}.mp4" for number in range(3)]


def test_an_order_that_an_alarm_cuts_short_is_refused_and_sent_to_its_end_later(
    rabbit: RabbitMQ, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings.model_copy(update={"home": tmp_path, "namespace": "alarm"})
    here = Runtime(settings)
    empty(settings, "download")
    job = book(here, here.recipe(), LINKS)
    with create_app(settings) as app:
        send_links(app, here, job, positions={0})
    with served(settings) as url, short_of_memory(rabbit), monkeypatch.context() as hasty:
        hasty.setattr("broker.app.SENDER_SECONDS", 1.0)
        blocked(lambda: enqueue(here, LINKS))

        def refused() -> bool:
            answer = httpx.post(f"{url}/jobs", json={"links": LINKS}, timeout=300)
            assert PASSWORD not in answer.text
            told = answer.json().get("code"), answer.headers.get("Retry-After", "").isdecimal()
            return (answer.status_code, *told) == (503, "broker_blocked", True)

        wait_for(refused)
        assert job == job_id_of(LINKS, here.recipe())
    assert [link.position for link in here.catalog.unfinished(job)] == [0, 1, 2]
    worker = create_app(settings, ("compare",))  # whose work is done by then
    assert worker.conf.broker_transport_options["patience"] == WORKER_SECONDS
    with create_app(settings) as app:
        assert repair_all(app, here) == 3
    # What was sent in vain may be there as well: of each link the last message counts.
    wait_for(lambda: AmqpBroker.of(settings).lengths(["download"])["download"] >= 1 + 3)
    empty(settings, "download")


def test_flowers_events_are_waited_for_by_nobody_and_dropped_while_an_alarm_lasts(
    rabbit: RabbitMQ, settings: Settings
) -> None:
    seen: list[int] = []
    with create_app(settings) as app, app.connection_for_read() as read, app.connection_for_write() as link:
        receiver = app.events.Receiver(read, handlers={"*": lambda event: seen.append(event["number"])})
        events = app.events.Dispatcher(link, buffer_while_offline=False)
        with receiver.consumer_context() as (ear, *_):

            def heard(number: int) -> bool:
                with suppress(TimeoutError):
                    ear.drain_events(timeout=0.5)
                return number in seen

            events.send("worker-heartbeat", number=1)
            wait_for(lambda: heard(1))
            with short_of_memory(rabbit):

                def alarmed() -> bool:
                    events.send("worker-heartbeat", number=2)
                    return bool(link.connection.alarm)

                wait_for(alarmed)
                events.send("worker-heartbeat", number=3, more="x" * 20_000_000)  # no buffer would hold it
            wait_for(lambda: (events.send("worker-heartbeat", number=4), heard(4))[1])
            assert 3 not in seen
        with app.producer_or_acquire() as producer:  # one channel: what is confirmed, and what need not be
            app.send_task("x", queue="events", producer=producer)
            events.publish("task-sent", {"number": 5}, producer)
            with pytest.raises(TimeoutError):  # no confirmation is left over for the next message
                producer.channel.connection.drain_events(timeout=1)


MENDED = {
    "HARDPOSE_PLACEMENT": "|".join(QUEUES[1:]),
    "HARDPOSE_REPAIRS": "false",  # the test watches in their place
    "HARDPOSE_POSE_MODEL": "gated",  # notes each look, and finds nobody
    "HARDPOSE_SAMPLING__SEGMENT_SECONDS": "0.5",
}


def test_lost_messages_are_sent_anew_and_nothing_is_done_twice(settings: Settings, tmp_path: Path) -> None:
    """They are taken away in the middle of a job, and come back when others were sent in their place."""
    settings = settings.model_copy(update={"home": tmp_path / "state", "namespace": "lost"})
    models = install(tmp_path / "stranger")
    env = settings.environment() | models | MENDED
    here = Runtime(settings)
    empty(settings, *QUEUES)
    workers = [start("worker", QUEUES[0], QUEUES[2], env=env)]
    try:
        ordered = hardpose("enqueue", write_video(tmp_path / "ramp.mp4", range(0, 1000, 100)), env=env)
        assert ordered.code == ExitCode.OK, ordered.stderr
        lost = taken(settings, "pose", 2)
        with create_app(settings) as app:
            watch = LossWatch(app, here, "the test")
            wait_for(lambda: noticed(watch))
        anew = taken(settings, "pose", 2)
        put_back(settings, "pose", [*lost, *anew])
        workers.append(start("worker", "pose", env=env))
        wait_for(lambda: all(job.final for job in here.catalog.jobs()))
        wait_for(lambda: all_messages(settings, here.control, QUEUES) == 0)
    finally:
        for worker in workers:
            worker.terminate()
        logs = [worker.communicate(timeout=200)[0] for worker in workers]
    (light,) = here.catalog.jobs()
    job = here.catalog.job(light.id)
    assert [segment.state for link in job.links for segment in link.segments] == [State.DONE] * 2, logs
    assert len(gate_of(models).looks) == job.funnel().check().examined > 0, logs
    assert logs[1].count("hardpose.pose") >= 4, "the old messages came too"


def test_a_stage_that_is_at_work_when_an_alarm_comes_sends_its_result_after_it(
    rabbit: RabbitMQ, settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"home": tmp_path / "state", "namespace": "at-work"})
    models = install(tmp_path / "stranger")
    env = settings.environment() | models | MENDED
    here, gate, log = Runtime(settings), gate_of(models), tmp_path / "log"
    empty(settings, *QUEUES)
    gate.let(0)
    with log.open("w") as output, ExitStack() as started:
        started.callback(ended, start("worker", QUEUES[0], QUEUES[2], env=env, output=output))
        ordered = hardpose("enqueue", write_video(tmp_path / "ramp.mp4", range(0, 1000, 100)), env=env)
        assert ordered.code == ExitCode.OK, ordered.stderr
        wait_for(lambda: AmqpBroker.of(settings).lengths(["pose"])["pose"] == 2)
        with (tmp_path / "pose log").open("w") as output_of_pose:
            started.callback(ended, start("worker", "pose", env=env, output=output_of_pose))
        wait_for(lambda: gate.looks)
        with short_of_memory(rabbit):
            wait_for(lambda: "memory" in rabbit.control("eval", "rabbit_alarm:get_alarms()."))
            gate.open()  # what it finds is to be sent now
            wait_for(lambda: "low on memory" in (tmp_path / "pose log").read_text())
            assert not any(job.final for job in here.catalog.jobs())
        wait_for(lambda: all(job.final for job in here.catalog.jobs()))
        wait_for(lambda: all_messages(settings, here.control, QUEUES) == 0)
    (light,) = here.catalog.jobs()
    job = here.catalog.job(light.id)
    told = log.read_text() + (tmp_path / "pose log").read_text()
    assert [segment.state for link in job.links for segment in link.segments] == [State.DONE] * 2, told
    assert len(gate.looks) >= job.funnel().check().examined > 0, told  # once, unless the alarm was long
    assert PASSWORD not in told


def ended(worker: "subprocess.Popen[str]") -> None:
    """It is told to end, and has."""
    worker.terminate()
    worker.wait(200)


def taken(settings: Settings, queue: str, number: int) -> list[Any]:
    """So many messages of a queue, which is empty then."""
    found: list[Any] = []
    with Connection(settings.broker) as connection:
        channel = connection.default_channel

        def all_of_them() -> bool:
            while (message := channel.basic_get(queue)) is not None:
                channel.basic_ack(message.delivery_tag)
                found.append(message)
            return len(found) == number

        wait_for(all_of_them)
    return found


def put_back(settings: Settings, queue: str, messages: list[Any]) -> None:
    """As they were, to the end of the queue."""
    with Connection(settings.broker, transport_options={"confirm_publish": True}) as connection:
        for message in messages:
            connection.default_channel.basic_publish(message, exchange=queue, routing_key=queue)


def noticed(watch: LossWatch) -> bool:
    """Whether there is no message; the quiet before it is made long."""
    watch._quiet._seen -= 1000
    return watch.look() == "there is no message"
