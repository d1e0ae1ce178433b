"""How messages are taken from Redis: none is lost at any point, and whoever waits is woken."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from queue import Empty
from typing import Any, Self

import kill_storm
import pytest
from cut_link import Link
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from kombu import Connection, Queue
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError, ResponseError

from broker.app import create_app
from broker.control import PRIORITY_STEPS, Control
from broker.embedded import EmbeddedBroker
from broker.queue_scripts import BELL_SECONDS, RING
from broker.settings import Settings, load_settings

QUEUE = "some"
NEVER = 3600
"""Seconds that a taker waits for a bell where only the bell may wake it."""
LONG = 120
"""Seconds for what comes at once; a busy machine takes its time."""


class Taker:
    """Takes messages as a worker does, and acknowledges each; inside its ``with``.

    Args:
        settings: of the broker.
        queues: that it takes from.
        port: of the broker, where a cable is in between.
        waits: seconds for a bell.
        holds: it acknowledges nothing, and so takes one message.
        no_ack: nobody is to acknowledge anything.
    """

    def __init__(
        self, settings: Settings, *queues: str, port: int = 0, waits: float = 1, holds: bool = False,
        no_ack: bool = False,
    ) -> None:  # fmt: skip
        if port:
            before, _, database = settings.broker.rpartition("/")
            settings = load_settings(**settings.model_dump(include={"namespace"}),
                                     broker_url=f"{before.rpartition(':')[0]}:{port}/{database}")  # fmt: skip
        self._queues, self._waits, self._holds, self._no_ack = queues or (QUEUE,), waits, holds, no_ack
        self.settings, self.taken = settings, list[Any]()

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        app = self._stack.enter_context(create_app(self.settings))
        self.connection: Connection = self._stack.enter_context(app.connection_for_read())
        self.channel: Any = self.connection.default_channel
        self.channel.brpop_timeout = self._waits
        self.consumer = self.connection.Consumer(
            list(map(Queue, self._queues)), callbacks=[self._take], prefetch_count=1, no_ack=self._no_ack
        )
        self.consumer.consume()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _take(self, body: Any, message: Any) -> None:
        self.taken.append(body)
        if not self._holds and not self._no_ack:
            message.ack()

    def take(self, many: int = 1) -> list[Any]:
        """The next messages, waited for."""
        del self.taken[:]
        while len(self.taken) < many:
            self.connection.drain_events(timeout=LONG)
        return self.taken

    def wait(self) -> None:
        """Until it has asked for a bell, and no answer is under way."""
        while not (self.channel._waits and self.channel._in_poll):
            try:
                self.connection.drain_events(timeout=0.01)
            except TimeoutError:
                continue

    def ask_once(self) -> None:
        """One attempt to take, without a wait."""
        self.channel.client.connection = (
            self.channel.client.connection or self.channel.client.connection_pool.get_connection()
        )
        self.channel._waits = False
        self.channel._brpop_start()
        try:
            self.channel._brpop_read()
        except Empty:
            assert not self.channel._in_poll


@pytest.fixture
def settings(server: EmbeddedBroker) -> Settings:
    made = load_settings(broker_url=server.url, namespace="taking")
    with Control.of(made).server() as client:
        client.flushdb()
    return made


def send(settings: Settings, body: Any, queue: str = QUEUE, priority: int = 0) -> None:
    with create_app(settings) as app, app.connection_for_write() as connection:
        connection.Producer().publish(body, routing_key=queue, priority=priority, serializer="json")


def put_raw(settings: Settings, *bodies: Any) -> None:
    """Into the list and nothing else, as an older release does it."""
    for body in bodies:
        send(settings, body)
    with Control.of(settings).server() as client:
        client.delete(f"taking:bell:{QUEUE}")


def left(settings: Settings) -> dict[str, int]:
    """What is in the queue, what is held, and bells."""
    with Control.of(settings).server() as client:
        return {
            "waits": int(client.llen(f"taking:{QUEUE}")),
            "held": int(client.hlen("taking:unacked")),
            "since": int(client.zcard("taking:unacked_index")),
            "bells": int(client.llen(f"taking:bell:{QUEUE}")),
        }


NOTHING = {"waits": 0, "held": 0, "since": 0, "bells": 0}


@pytest.mark.parametrize("idle", [False, True], ids=["it waits in the queue", "somebody waits for it"])
def test_no_point_of_taking_loses_a_message(settings: Settings, server: EmbeddedBroker, idle: bool) -> None:
    send(settings, "never quiet", "other")  # there is always a message: no reconciler would look
    points = 0
    with Link(int(server.url.rsplit(":", 1)[1].split("/")[0])) as link:
        for point in count(1):
            done, torn = _taken_with_a_tear(settings, link, point, idle)
            rescued = _rescued(settings)
            assert {*done, *rescued} == {point}, f"torn at {point}: done {done}, rescued {rescued}"
            assert left(settings) == NOTHING
            if not torn:
                break
            points = point
    assert points >= 3  # answered, acknowledged, answered: at the least
    assert done == [point] and not rescued


def _taken_with_a_tear(settings: Settings, link: Link, point: int, idle: bool) -> tuple[list[Any], bool]:
    """What a taker has done whose link was torn at ``point``, and whether it came so far."""
    taker = Taker(settings, port=link.port)
    try:
        with taker:
            if idle:
                taker.wait()
            link.tear_at = point
            send(settings, point)
            taker.take()
            torn, link.tear_at = not link.tear_at, 0
    except (OSError, RedisError, OperationalError):
        torn, link.tear_at = True, 0
    return list(taker.taken), torn


def _rescued(settings: Settings) -> list[Any]:
    """What comes back when all leases have run out."""
    found: list[Any] = []
    with Taker(settings) as taker:
        taker.channel.qos.visibility_timeout = -LONG
        taker.channel.qos.restore_visible()
        for _ in range(left(settings)["waits"]):
            found += taker.take()
    return found


def test_takers_that_are_killed_all_the_time_lose_nothing(server: EmbeddedBroker, tmp_path: Path) -> None:
    run = [sys.executable, kill_storm.__file__, server.url, str(tmp_path / "notes")]
    result = subprocess.run(run, capture_output=True, text=True, check=False, timeout=2 * kill_storm.SECONDS)
    assert result.returncode == 0, result.stderr[-4000:]
    assert len((tmp_path / "notes").read_text().split()) >= kill_storm.ROUNDS * kill_storm.EACH


def test_a_bell_wakes_who_waits(settings: Settings) -> None:
    with Taker(settings, waits=NEVER) as taker:
        for number in range(3):
            taker.wait()
            send(settings, number)
            assert taker.take() == [number]
    assert left(settings) == NOTHING


def test_one_bell_wakes_as_many_as_there_are_messages(settings: Settings) -> None:
    with ExitStack() as stack:
        takers = [stack.enter_context(Taker(settings, waits=NEVER, holds=True)) for _ in range(3)]
        for taker in takers:
            taker.wait()
        with Control.of(settings).server() as client:
            send(settings, "x", "aside")
            (body,) = client.lrange("taking:aside", 0, -1)
            pipe = client.pipeline(transaction=True)
            pipe.lpush(f"taking:{QUEUE}", body, body, body)
            pipe.eval(RING, 1, f"taking:bell:{QUEUE}")
            pipe.execute()
        threads = [threading.Thread(target=taker.take) for taker in takers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert [taker.taken for taker in takers] == [["x"]] * 3
    assert left(settings) == NOTHING | {"waits": 3, "bells": 1}  # given back when they ended


def test_what_came_without_a_bell_is_found_when_the_wait_ends(settings: Settings) -> None:
    with Taker(settings) as taker:
        taker.wait()
        put_raw(settings, "raw")
        with Control.of(settings).server() as client:
            before = _waits(client)
            assert taker.take() == ["raw"]
            assert _waits(client) - before <= 2  # the one that it was in, and one more


def _waits(client: Any) -> int:
    return int(client.info("commandstats").get("cmdstat_brpop", {"calls": 0})["calls"])


def test_the_urgent_and_then_the_first_queue_are_taken_first(settings: Settings) -> None:
    send(settings, "a3", "a", 3)
    for name in ("b0", "a0", "a6", "b3"):
        send(settings, name, name[0], int(name[1]))
    with Taker(settings, "a", "b") as taker:
        assert taker.take(5) == ["a0", "b0", "a3", "b3", "a6"]


def test_a_server_that_has_forgotten_the_script_is_told_it_again(settings: Settings) -> None:
    with Taker(settings, waits=NEVER) as taker, Control.of(settings).server() as client:
        taker.wait()
        client.script_flush()
        send(settings, "after")
        assert taker.take() == ["after"]
    assert left(settings) == NOTHING


def test_what_nobody_acknowledges_is_not_held(settings: Settings) -> None:
    send(settings, "answer")
    with Taker(settings, no_ack=True) as taker:
        assert taker.take() == ["answer"]
        assert left(settings) == NOTHING
        with pytest.raises(NotImplementedError, match="consumer"):
            taker.channel.basic_get(QUEUE)


FOREIGN = [b"foreign", b"\xff", b"", b"5", b"1,2", b"{}", b'{"properties": "\xe4\xba\xba"}']


@pytest.mark.parametrize("foreign", FOREIGN)
def test_what_is_no_message_ends_nobody_and_keeps_nothing_from_coming_back(
    settings: Settings, foreign: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with Control.of(settings).server() as client:
        client.lpush(f"taking:{QUEUE}", foreign)
        send(settings, "good")
        with Taker(settings, holds=True) as taker:
            assert taker.take() == ["good"]
            assert left(settings) == NOTHING | {"held": 1, "since": 1}
            # Its taker was killed before he could look at it, and it is the first that comes back.
            client.hset("taking:unacked", "tag", b"[" + foreign + b',"","some"]')
            client.zadd("taking:unacked_index", {"tag": 0})
            taker.channel.qos.visibility_timeout = -LONG
            taker.channel.qos.restore_visible()
            with Taker(settings, waits=0.1) as other:
                assert other.take() == ["good"]
                other.wait()
            assert left(settings) == NOTHING
    told = [record.getMessage() for record in caplog.records if "no message" in record.getMessage()]
    assert any(QUEUE in text for text in told) and "foreign" not in caplog.text


@pytest.mark.parametrize("paused", [False, True], ids=["it ends", "it takes nothing for now"])
def test_what_comes_to_a_worker_that_stops_goes_back_at_once(settings: Settings, paused: bool) -> None:
    with Taker(settings, waits=LONG) as taker:
        taker.wait()
        taker.consumer.cancel()
        send(settings, "late")
        if paused:
            taker.connection.drain_events(timeout=LONG)
        else:
            taker.channel.close()
        assert not taker.taken
        assert left(settings) == NOTHING | {"waits": 1, "bells": 1}


def test_bells_of_a_queue_that_nobody_serves_any_more_fall_silent(settings: Settings) -> None:
    with Taker(settings, holds=True) as taker, Control.of(settings).server() as client:
        for number in range(3):
            send(settings, number)
        assert left(settings) == NOTHING | {"waits": 3, "bells": 1}
        assert 0 < client.ttl(f"taking:bell:{QUEUE}") <= BELL_SECONDS
        assert taker.channel.queue_purge(QUEUE) == 3
        assert 0 < client.ttl(f"taking:bell:{QUEUE}") <= BELL_SECONDS


def test_a_message_that_is_refused_leaves_no_answer_to_the_next(settings: Settings) -> None:
    with (
        create_app(settings) as app,
        app.connection_for_write() as connection,
        Control.of(settings).server() as client,
    ):
        client.set(f"taking:{QUEUE}", "no list")
        producer = connection.Producer()
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            producer.publish("refused", routing_key=QUEUE)
        client.delete(f"taking:{QUEUE}")
        assert [connection.default_channel._size(name) for name in (QUEUE, "other")] == [0, 0]
        producer.publish("taken", routing_key=QUEUE)
        assert left(settings)["waits"] == 1


def test_messages_that_are_sent_together_ring_too(settings: Settings) -> None:
    with Taker(settings, waits=NEVER) as taker, create_app(settings) as app:
        taker.wait()
        with app.connection_for_write() as connection:
            channel = connection.default_channel
            batch = channel.create_publish_batch(100)
            for body in ("a", "b"):
                message = channel.prepare_message(
                    f'"{body}"', content_type="application/json", content_encoding="utf-8"
                )
                batch.publish(message, exchange="", routing_key=QUEUE)
            batch.flush()
            batch.close()
        assert taker.take(2) == ["a", "b"]
    assert left(settings) == NOTHING


QUEUES = ("q1", "q2")
SETS = (("q1",), ("q2",), ("q1", "q2"))
STEPS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(QUEUES), st.sampled_from(PRIORITY_STEPS)),
    st.tuples(st.sampled_from(["take", "wake"]), st.sampled_from(SETS)),
    st.tuples(st.just("back")),
    st.tuples(st.just("purge"), st.sampled_from(QUEUES)),
)


@pytest.fixture
def several(settings: Settings) -> Iterator[dict[tuple[str, ...], Taker]]:
    with ExitStack() as stack:
        yield {queues: stack.enter_context(Taker(settings, *queues, holds=True)) for queues in SETS}


@example(steps=[("put", "q1", 0), ("put", "q1", 0), ("wake", ("q1",)), ("wake", ("q1", "q2"))])
@examples(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=25))
def test_a_bell_is_there_while_anything_waits_and_never_more_than_one(
    settings: Settings, several: dict[tuple[str, ...], Taker], steps: list[tuple[Any, ...]]
) -> None:
    with Control.of(settings).server() as client:
        client.flushdb()
        balance = 0
        for name, *rest in steps:
            balance += _step(client, several, name, *rest)
            waiting = Control.of(settings).lengths(QUEUES)[0]
            for queue in QUEUES:
                bells = client.llen(f"taking:bell:{queue}")
                assert bells <= 1
                assert bells == 1 or not waiting[queue], (name, rest)
            assert Control.of(settings).messages(QUEUES) == balance


def _step(client: Any, takers: dict[tuple[str, ...], Taker], name: str, *rest: Any) -> int:
    """Does it; returns how many messages there are more."""
    any_channel = takers[SETS[0]].channel
    if name == "put":
        queue, priority = rest
        any_channel.connection.client.Producer(any_channel).publish("x", routing_key=queue, priority=priority)
        return 1
    if name == "purge":
        return -int(any_channel.queue_purge(*rest))
    if name == "back":
        for tag in client.hkeys("taking:unacked")[:1]:
            any_channel.qos.restore_by_tag(tag)
        return 0
    (queues,) = rest
    if name == "wake" and not any(client.rpop(f"taking:bell:{queue}") for queue in queues):
        return 0
    takers[queues].ask_once()
    return 0
