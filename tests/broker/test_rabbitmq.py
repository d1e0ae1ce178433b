"""A real RabbitMQ with real workers on quorum queues: what is killed, given back, delayed or refused."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import rabbit_worker
import trustme
from kombu import Connection, Queue
from kombu.transport.native_delayed_delivery import declare_native_delayed_delivery_exchanges_and_queues
from pydantic import SecretStr
from rabbitmq_server import PASSWORD, RabbitMQ

from broker.amqp_broker import DELAYED, AmqpBroker, check_amqp
from broker.amqp_errors import BrokerQueuesDiffer
from broker.app import create_app
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.errors import BrokerRefuses, BrokerUnavailable, BrokerUntrusted, HardposeError
from broker.queue_lengths import all_messages, lengths, on_control, waiting_in
from broker.settings import Settings, load_settings
from broker.work_counts import WorkCounts
from tasks.pipeline import sending
from tasks.retrying import BOOKS_RETRY_SECONDS
from workers.process import check_broker

pytestmark = pytest.mark.system

LIMIT_OF_RABBITMQ_4 = 20
"""Deliveries after which it drops a message of a quorum queue; here a policy says so to any release."""
CA, STRANGER = trustme.CA(), trustme.CA()


def other(settings: Settings, url: str, **more: object) -> Settings:
    return settings.model_copy(update={"broker_url": SecretStr(url), **more})


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    folder = tmp_path_factory.mktemp("rabbitmq")
    pair = folder / "server.pem", folder / "key.pem"
    certificate = CA.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(pair[0]))
    certificate.private_key_pem.write_to_path(str(pair[1]))
    for authority, name in ((CA, "ca.pem"), (STRANGER, "stranger.pem")):
        authority.cert_pem.write_to_path(str(folder / name))
    with RabbitMQ(folder, tls=pair) as running:
        limit = f'{{"delivery-limit": {LIMIT_OF_RABBITMQ_4}}}'
        running.control("set_policy", "--apply-to", "queues", "as-4", ".*", limit)
        yield running


@pytest.fixture(scope="module")
def settings(rabbit: RabbitMQ, server: EmbeddedBroker) -> Settings:
    return load_settings(broker_url=rabbit.url, control_url=server.url)


@pytest.fixture(scope="module")
def cluster(rabbit: RabbitMQ, settings: Settings) -> Iterator[Settings]:
    """The same, of two nodes of which the first is away for good."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen: it refuses, and nobody else has the port
        away = f"@127.0.0.1:{nobody.getsockname()[1]},127.0.0.1:"
        yield other(settings, rabbit.url.replace("@127.0.0.1:", away))


class Rig:
    """A queue, and workers of it."""

    queue = "me.shelf"

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self.notes = folder / "notes"
        self.notes.touch()
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, queue: str = "", notes: str = "notes") -> "subprocess.Popen[bytes]":
        command = [sys.executable, rabbit_worker.__file__, str(self.folder / notes), queue or self.queue]
        with (self.folder / "log").open("ab") as log:
            environment = os.environ | self.settings.environment()
            worker = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environment)
        self.workers.append(worker)
        return worker

    def send(self, task: str, *arguments: object, priority: int | None = None) -> None:
        with create_app(self.settings) as app:
            app.send_task(task, args=arguments, queue=self.queue, priority=priority)

    def noted(self, text: str) -> int:
        return self.notes.read_text().splitlines().count(text)

    def wait(self, condition: Callable[[], bool], seconds: float = 200) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            told = self.notes.read_text(), (self.folder / "log").read_text()[-6000:]
            assert time.monotonic() < deadline, told
            assert self.workers[-1].poll() is None, told
            time.sleep(0.05)

    def wait_for(self, note: str) -> None:
        self.wait(lambda: self.noted(note) > 0)

    def waiting(self) -> int:
        return AmqpBroker.of(self.settings).lengths([self.queue])[self.queue]

    def kill(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                for process in (*psutil.Process(worker.pid).children(recursive=True), worker):
                    process.kill()
                worker.wait()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, cluster: Settings) -> Iterator[Rig]:
    """With a worker, which the last test that asks for it kills. One node of its cluster is away."""
    made = Rig(tmp_path_factory.mktemp("rig"), cluster)
    try:
        made.start()
        yield made
    finally:
        made.kill()


def test_what_is_delayed_comes_each_time_and_to_no_queue_that_is_called_as_the_device(rig: Rig) -> None:
    other = "shelf"
    rig.start(other, "notes of the other")
    rig.send("again", "delayed", 3)  # each waits as long: RabbitMQ might take that for a message in a circle
    rig.wait_for("end delayed")
    assert rig.noted("begin delayed") == 4
    time.sleep(0.5)
    assert not (rig.folder / "notes of the other").exists()
    assert AmqpBroker.of(rig.settings).lengths([other]) == {other: 0}
    rig.workers.pop().kill()


def test_what_is_given_back_more_often_than_the_server_allows_is_not_lost(rig: Rig) -> None:
    rig.send("back", "often", 2 * LIMIT_OF_RABBITMQ_4 + 5)
    rig.wait_for("end often")
    assert rig.noted("begin often") == 2 * LIMIT_OF_RABBITMQ_4 + 6
    rig.wait(lambda: rig.waiting() == 0)


def test_a_server_that_dies_keeps_what_it_has_taken_and_workers_wait_for_it(
    rig: Rig, rabbit: RabbitMQ
) -> None:
    rig.send("work", "long", None)  # so that none of the others is under way when the server dies
    rig.wait_for("begin long")
    for number in range(20):
        rig.send("work", f"{number}", priority=9 if number == 19 else None)
    rabbit.kill()
    with pytest.raises(BrokerUnavailable) as error:
        AmqpBroker.of(rig.settings).lengths([rig.queue])
    assert PASSWORD not in repr(error.value)
    rabbit.start()
    (rig.folder / "go long").touch()
    for number in range(20):
        rig.wait_for(f"end {number}")
    assert rig.workers[-1].poll() is None
    rig.wait(lambda: rig.waiting() == 0)
    assert [rig.noted(f"end {number}") for number in range(20)] == [1] * 20


def test_a_process_that_is_killed_costs_a_try_and_a_killed_worker_nothing(rig: Rig) -> None:
    """Meanwhile it is told by queue what a worker works on."""
    rig.send("die", "once")
    rig.wait_for("end once")
    assert rig.noted("begin once") == 2
    counts = WorkCounts(Control.of(rig.settings))
    for name in ("a", "b"):
        rig.send("work", name, 3600)
    rig.wait_for("begin a")
    rig.wait(lambda: counts.running().get(rig.queue) == 1)
    assert (rig.waiting(), rig.noted("begin a"), rig.noted("begin b")) == (1, 1, 0)
    assert counts.stalled({rig.queue: 1})[rig.queue] < 600
    rig.kill()
    rig.start()
    rig.wait(lambda: rig.noted("begin a") == 2)


def test_messages_are_counted_wherever_they_are(settings: Settings) -> None:
    settings, queue = settings.model_copy(update={"namespace": "counted"}), "nobody's"
    queues = (queue, "never-declared")
    control = Control.of(settings)
    assert not on_control(settings)
    assert waiting_in(settings, control, queues) == 0
    with create_app(settings) as app:
        for _ in range(3):
            app.send_task("work", queue=queue)
    assert lengths(settings, control, queues) == ({queue: 3, "never-declared": 0}, 0)
    WorkCounts(control).tell("host:1", {queue: 2}, [queue])
    assert all_messages(settings, control, queues) == 5
    with Connection(settings.broker) as connection, create_app(settings, queues) as app:
        declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")  # as a worker does
        app.send_task("work", args=["later"], queue=queue, countdown=BOOKS_RETRY_SECONDS)
        assert all_messages(settings, control, queues) == 6
        for name in (*DELAYED, queue):
            connection.default_channel.queue_purge(name)
    WorkCounts(control).forget("host:1")
    assert all_messages(settings, control, queues) == 0


def refusal(settings: Settings, kind: type[HardposeError], word: str, queue: str = "refused") -> None:
    """By a worker that starts, and by whoever sends."""
    with pytest.raises(kind, match=word) as error:
        check_broker(settings, [queue])
    with create_app(settings) as app, pytest.raises(kind, match=word) as unsent, sending():
        app.send_task("x", queue=queue, retry=False)
    for said in (str(error.value), str(unsent.value)):
        assert PASSWORD not in said and "wrong-password" not in said


def test_what_the_server_refuses_is_told_in_words_of_ours(rabbit: RabbitMQ, settings: Settings) -> None:
    wrong = other(settings, rabbit.url.replace(PASSWORD, "wrong-password"))
    refusal(wrong, BrokerRefuses, "refuses the user or the password")
    refusal(other(settings, rabbit.url_of("nowhere")), BrokerRefuses, "add_vhost")
    rabbit.control("add_vhost", "not-ours")
    refusal(other(settings, rabbit.url_of("not-ours")), BrokerRefuses, "set_permissions")
    with Connection(settings.broker) as connection:
        Queue("classic", durable=True)(connection).declare()
    refusal(settings, BrokerQueuesDiffer, "virtual host of its own", "classic")
    AmqpBroker.of(settings).declare(["of-ours"])
    AmqpBroker.of(settings).declare(["of-ours"])  # which is no other kind


def test_a_certificate_is_checked(rabbit: RabbitMQ, settings: Settings) -> None:
    folder = rabbit.folder
    good = other(settings, rabbit.tls_url(), broker_ca=folder / "ca.pem")
    check_broker(good, ["by-tls"])
    with create_app(good) as app:
        app.send_task("x", queue="by-tls")
    assert AmqpBroker.of(good).lengths(["by-tls"]) == {"by-tls": 1}
    for bad in (
        good.model_copy(update={"broker_ca": folder / "stranger.pem"}),
        other(good, rabbit.tls_url("localhost")),  # it is made out to 127.0.0.1
    ):
        with pytest.raises(BrokerUntrusted, match="HARDPOSE_BROKER_CA"):
            check_broker(bad, ["by-tls"])
    # Of two nodes the first is not believed; the second is asked for the certificate of its own name.
    first = rabbit.tls_url("localhost").rpartition("/")[0]
    nodes = other(good, f"{first},{rabbit.tls_url().rpartition('@')[2]}")
    assert AmqpBroker.of(nodes).lengths(["by-tls"]) == {"by-tls": 1}


def test_work_longer_than_the_server_waits_is_warned_of(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    check_amqp(settings, ["quick"], 600)
    assert not caplog.records
    old = AmqpBroker.of(settings).version() < (3, 12)  # later ones are told by the queue itself
    check_amqp(settings, ["slow"], 3600)
    assert [("consumer_timeout" in record.message) for record in caplog.records] == [True] * old


def test_who_is_away_is_told_at_once(
    cluster: Settings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", rests.append)
    assert AmqpBroker.of(cluster).version() == AmqpBroker.of(settings).version()
    with create_app(cluster) as app:
        app.send_task("x", queue="of-a-cluster", retry=False)
    assert AmqpBroker.of(cluster).lengths(["of-a-cluster"]) == {"of-a-cluster": 1}
    away = cluster.broker.rpartition(",")[0]
    with pytest.raises(BrokerUnavailable, match="refused") as error:
        AmqpBroker(away).version()
    assert PASSWORD not in str(error.value)
    assert rests == []
