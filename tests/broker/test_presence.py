"""Workers hand in a card, are heard of, and vanish: what others see of them."""

import threading
from collections.abc import Callable

import pytest
from redis_servers import until
from servers_clock import ServersClock

from broker import presence_beat
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.errors import BrokerUnavailable
from broker.presence import ALIVE_SECONDS, KEPT_SECONDS, SETTLED_SECONDS, SILENT_SECONDS, Presence, WorkerCard
from broker.presence_beat import beat_until
from broker.recipe import ModelSpec, Stage
from broker.settings import load_settings


def a_card(pid: int = 1, name: str = "pose@gpu-3") -> WorkerCard:
    models = {Stage.POSE: ModelSpec(name="openpose-body25", version="1")}
    return WorkerCard(
        name=name, host="gpu-3", pid=pid, queues=("pose",), models=models, version="0.1.0", started=5.0
    )


@pytest.fixture
def presence(server: EmbeddedBroker, clock: ServersClock, request: pytest.FixtureRequest) -> Presence:
    """By a clock that goes on when it is told to."""
    return Presence(Control(server.url, f"{request.node.name}:"))


def test_a_worker_comes_is_seen_and_goes(presence: Presence, clock: ServersClock) -> None:
    presence.announce(a_card())
    presence.announce(a_card(2, "mask@gpu-3"))
    first, second = presence.alive()
    assert (first.name, second.name) == ("mask@gpu-3", "pose@gpu-3")
    assert second.seen == clock.now
    assert second.model_copy(update={"seen": 0.0}) == a_card()
    presence.withdraw(second.key)
    assert presence.alive() == [first]
    assert presence.card(second.key) is None


def test_who_is_not_heard_of_is_gone_until_the_next_beat(presence: Presence, clock: ServersClock) -> None:
    presence.announce(a_card())
    clock.go_on(ALIVE_SECONDS)
    assert len(presence.alive()) == 1
    clock.go_on(0.001)
    assert presence.alive() == []
    assert presence.beat("gpu-3:1")
    assert len(presence.alive()) == 1


def test_a_beat_of_an_unknown_worker_shows_nobody(presence: Presence) -> None:
    assert not presence.beat("gpu-3:1")
    assert presence.alive() == []


def settled_after(presence: Presence, clock: ServersClock, heard: Callable[[], object]) -> None:
    """Nobody can say who is not there before everybody has had the time to say that he is."""
    heard()
    assert not presence.settled()
    clock.go_on(SETTLED_SECONDS / 2)
    assert presence.beat("gpu-3:1")
    assert not presence.settled()
    clock.go_on(SETTLED_SECONDS / 2)
    assert presence.settled()


def test_who_is_not_there_is_known_once_everybody_was_heard(presence: Presence, clock: ServersClock) -> None:
    assert not presence.settled()
    settled_after(presence, clock, lambda: presence.announce(a_card()))
    presence.announce(a_card(2))  # one that comes is no reason to ask all others again
    assert presence.settled()
    clock.go_on(SILENT_SECONDS)
    presence.beat("gpu-3:1")
    assert presence.settled(), "a broker that was away for a moment has lost nobody"


@pytest.mark.parametrize("again", ["beat", "announce"])
def test_it_is_not_known_when_the_broker_was_away(
    again: str, presence: Presence, clock: ServersClock
) -> None:
    settled_after(presence, clock, lambda: presence.announce(a_card()))
    clock.go_on(SILENT_SECONDS + 0.001)
    heard = {"beat": lambda: presence.beat("gpu-3:1"), "announce": lambda: presence.announce(a_card())}
    settled_after(presence, clock, heard[again])


def test_it_is_not_known_when_the_broker_has_lost_its_memory(presence: Presence, clock: ServersClock) -> None:
    settled_after(presence, clock, lambda: presence.announce(a_card()))
    with presence._control.server() as server:
        server.delete(*server.keys(presence._control.key("*")))
    settled_after(presence, clock, lambda: presence.announce(a_card()))


def test_old_cards_are_thrown_away(presence: Presence, clock: ServersClock) -> None:
    presence.announce(a_card())
    clock.go_on(KEPT_SECONDS - 0.001)
    presence.announce(a_card(2))
    assert presence.card("gpu-3:1") == a_card()
    clock.go_on(0.001)
    presence.announce(a_card(3))
    assert presence.card("gpu-3:1") is None


def test_a_card_of_another_release_is_passed_over(presence: Presence, clock: ServersClock) -> None:
    presence.announce(a_card())
    with presence._control.server() as server:
        server.hset(presence._control.key("workers"), "gpu-3:2", '{"wheels": 4}')
        server.zadd(presence._control.key("workers:seen"), {"gpu-3:2": clock.now})
    assert [card.pid for card in presence.alive()] == [1]


def test_a_server_that_has_lost_its_memory_is_told_again(
    server: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_beat, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(presence_beat.PresenceBeat, "card", None)
    settings = load_settings(broker_url=server.url, namespace="told-again")
    presence = Presence(Control.of(settings))
    presence.announce(a_card())
    ended = threading.Event()
    thread = threading.Thread(target=beat_until, args=(ended, settings, "gpu-3:1"))
    thread.start()
    try:
        until(lambda: presence_beat.PresenceBeat.card is not None, "a beat that has read the card")
        Control.of(settings).clear_queue_state()
        until(lambda: bool(presence.alive()), "the worker is announced again")
    finally:
        ended.set()
        thread.join()


def test_a_server_that_is_away_is_a_typed_error() -> None:
    with pytest.raises(BrokerUnavailable):
        Presence(Control("redis://127.0.0.1:1/0")).alive()
