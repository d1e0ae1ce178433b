"""The breaker of an egress, and what people see of both, on a real server."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from egresses import an_egress, wait_of
from servers_clock import ServersClock

from broker import egress as module
from broker.control import Control
from broker.egress import UNLIMITED, Egress, Wait, egress_views
from broker.embedded import EmbeddedBroker
from broker.errors import BrokerUnavailable

pytestmark = pytest.mark.usefixtures("clock")  # all times are exact: only the test lets them pass


def test_a_flagged_address_stops_everybody(control: Control) -> None:
    egress = an_egress(control, per_second=100, burst=10, pause=30, longest=100)
    other_worker = Egress(control, egress.identity, 360000, 10, 30, 100)
    assert egress.ask("a") is None
    assert egress.poisoned("a", "Sign in to confirm you're not a bot") == 30
    wait = wait_of(other_worker.ask("b"))
    assert wait.reason == "breaker"
    assert wait.seconds == 30
    view = other_worker.view()
    assert (view.breaker, view.cause) == ("open", "Sign in to confirm you're not a bot")
    assert view.retry_seconds == 30


def test_requests_under_way_open_it_once_and_close_nothing(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=100, burst=10, pause=30, longest=100)
    for who in "abcd":
        assert egress.ask(who) is None
    pauses = []
    for who in "abc":
        pauses.append(egress.poisoned(who, "429"))
        clock.go_on(3)
    assert pauses == [30, 27, 24]  # not 30, 60, 100, nor begun anew by each
    egress.succeeded("d")  # was granted before: its success proves nothing
    assert egress.view().breaker == "open"


def open_and_wait(egress: Egress, clock: ServersClock) -> None:
    assert egress.ask("unlucky") is None
    pause = egress.poisoned("unlucky", "429")
    clock.go_on(pause - 0.001)
    assert egress.view().breaker == "open"
    clock.go_on(0.002)


def test_exactly_one_tries_first(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=1000, burst=50)
    open_and_wait(egress, clock)
    assert egress.view().breaker == "half_open"
    start = threading.Barrier(16)

    def ask(name: int) -> Wait | None:
        start.wait()
        return egress.ask(f"v{name}")

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(16)))
    assert answers.count(None) == 1
    assert {answer.reason for answer in answers if answer} == {"probe"}


def test_a_good_answer_to_the_probe_closes_it_and_forgets_the_pauses(
    control: Control, clock: ServersClock
) -> None:
    egress = an_egress(control, per_second=1000, burst=50)
    open_and_wait(egress, clock)
    assert egress.ask("probe") is None
    assert wait_of(egress.ask("other")).reason == "probe"
    egress.succeeded("probe")
    assert egress.ask("other") is None
    assert (egress.view().breaker, egress.view().cause) == ("closed", "")
    assert egress.poisoned("other", "429") == 0.3  # the first pause again


def test_a_refused_probe_doubles_the_pause_up_to_the_longest(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=1000, burst=50, pause=0.2, longest=0.5)
    open_and_wait(egress, clock)
    pauses = []
    for _ in range(3):
        assert egress.ask("probe") is None
        pauses.append(egress.poisoned("probe", "429"))
        clock.go_on(pauses[-1] + 0.02)
    assert pauses == [0.4, 0.5, 0.5]


def test_a_probe_that_learnt_nothing_hands_its_role_on(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=1000, burst=50)
    open_and_wait(egress, clock)
    assert egress.ask("probe") is None
    egress.inconclusive("other")  # not the probe: changes nothing
    assert wait_of(egress.ask("other")).reason == "probe"
    egress.inconclusive("probe")
    assert egress.view().breaker == "half_open"
    assert egress.ask("other") is None


def test_a_probe_that_died_is_replaced_and_one_that_lives_is_not(
    control: Control, clock: ServersClock
) -> None:
    egress = an_egress(control, per_second=1000, burst=50)
    open_and_wait(egress, clock)
    assert egress.ask("probe") is None
    for _ in range(4):  # twice as long as its lease
        clock.go_on(module.PROBE_SECONDS / 2)
        egress.alive("probe")
        egress.alive("other")  # only the probe has a role to keep
    assert wait_of(egress.ask("other")).reason == "probe"
    clock.go_on(module.PROBE_SECONDS + 0.001)
    assert egress.ask("other") is None
    egress.succeeded("probe")  # too late: it is another one's turn
    assert egress.view().breaker == "half_open"


def test_the_probe_obeys_the_rate(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=1, pause=0.1)
    open_and_wait(egress, clock)
    wait = wait_of(egress.ask("probe"))
    assert wait.reason == "rate"
    clock.go_on(wait.seconds)
    assert egress.ask("probe") is None


def test_those_who_wait_for_the_breaker_come_back_in_order_and_not_all_at_once(control: Control) -> None:
    egress = an_egress(control, per_second=1, burst=2, pause=60, longest=60)
    egress.ask("unlucky")
    egress.poisoned("unlucky", "429")
    waits = [wait_of(egress.ask(f"v{i}")).seconds for i in range(5)]
    assert waits == [60, 60, 61, 62, 63]


# --- what people see ---


def test_a_host_without_a_rate_has_only_a_breaker_and_leaves_no_trace(
    control: Control, clock: ServersClock
) -> None:
    host = Egress(control, f"host:{uuid.uuid4().hex}.example", UNLIMITED, 1, 0.2, 1)
    assert [host.ask(f"v{i}") for i in range(50)] == [None] * 50
    assert host.identity not in [view.identity for view in egress_views(control)]
    host.poisoned("v1", "429")
    assert wait_of(host.ask("v2")).reason == "breaker"
    assert host.identity in [view.identity for view in egress_views(control)]
    clock.go_on(0.25)
    assert host.ask("v2") is None
    assert wait_of(host.ask("v3")).reason == "probe"
    host.succeeded("v2")
    assert host.ask("v3") is None
    assert host.identity not in [view.identity for view in egress_views(control)]


def test_any_machine_can_see_it_without_knowing_the_settings(control: Control) -> None:
    egress = an_egress(control, per_second=300 / 3600, burst=2)
    for name in "abcd":
        egress.ask(name)
    (view,) = [view for view in egress_views(control) if view.identity == egress.identity]
    assert (view.videos_per_hour, view.burst, view.granted, view.waiting) == (300, 2, 2, 2)
    assert view.next_seconds == 12
    assert (view.breaker, view.retry_seconds, view.pause_seconds, view.cause) == ("closed", 0, 0, "")


def test_every_key_expires_and_carries_the_prefix(server: EmbeddedBroker) -> None:
    control = Control(server.url, "apart:")
    egress = an_egress(control, per_second=1)
    for name in "ab":
        egress.ask(name)
    with control.server() as redis:
        keys = [str(key) for key in redis.scan_iter(f"apart:hardpose:egress:{egress.identity}:*")]
        assert len(keys) == 4
        assert all(0 < redis.ttl(key) <= module.EXPIRY_SECONDS for key in keys)
    assert egress.identity not in [view.identity for view in egress_views(Control(server.url))]


def test_a_server_that_does_not_answer_is_a_typed_error() -> None:
    with pytest.raises(BrokerUnavailable):
        an_egress(Control("redis://127.0.0.1:1/0")).ask("a")
