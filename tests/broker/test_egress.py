"""The rate of an egress, on a real server, asked by threads and by real processes."""

import json
import subprocess
import sys
import uuid

import pytest
from egresses import an_egress, wait_of
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from servers_clock import ServersClock, servers_clock

from broker import egress as module
from broker.control import Control
from broker.egress import Egress
from broker.embedded import EmbeddedBroker

# --- the rate, by a clock of ours ---


def test_a_burst_is_granted_at_once_and_no_more(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=1, burst=3)
    answers = [egress.ask(f"v{i}") for i in range(5)]
    assert answers[:3] == [None, None, None]
    assert wait_of(answers[3]).reason == "rate"
    assert wait_of(answers[3]).seconds == 1
    assert wait_of(answers[4]).seconds == 2  # the next free slot, not the same


def test_asking_too_early_keeps_the_slot_and_asking_at_it_grants(
    control: Control, clock: ServersClock
) -> None:
    egress = an_egress(control, per_second=1)
    assert egress.ask("first") is None
    assert wait_of(egress.ask("a")).seconds == 1
    clock.go_on(0.4)
    assert wait_of(egress.ask("a")).seconds == 0.6
    assert wait_of(egress.ask("b")).seconds == 1.6  # a's asking took one slot
    clock.go_on(0.6)
    assert egress.ask("a") is None
    assert egress.ask("a") is not None  # that token is used up


def test_first_come_first_served_and_no_token_is_lost(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=10)
    names = [f"v{i:02}" for i in range(12)]
    waits = {name: egress.ask(name) for name in names}  # v00 is granted here
    begun, granted = clock.now, ["v00"]
    due = {name: clock.now + wait.seconds for name, wait in waits.items() if wait is not None}
    while due:  # all ask when they were told to
        who = min(due, key=lambda name: (due[name], name))
        clock.go_on(max(0.0, due[who] - clock.now))
        wait = egress.ask(who)
        if wait is None:
            granted.append(who)
            due.pop(who)
        else:
            due[who] = clock.now + wait.seconds
    assert granted == names
    assert clock.now - begun == pytest.approx(1.1, abs=1e-4)


def test_a_token_that_is_kept_for_another_is_not_given_away(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=2, burst=2)
    assert [egress.ask("x"), egress.ask("y")] == [None, None]
    egress.ask("head")
    clock.go_on(0.6)  # one token is there now, and it is the head's
    assert egress.ask("newcomer") is not None
    assert egress.ask("head") is None


def test_places_that_nobody_takes_up_hold_up_nobody(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=10)
    egress.ask("first")
    for i in range(5):
        egress.ask(f"dead{i}")
    assert egress.view().waiting == 5
    clock.go_on(0.5 + module.GRACE_SECONDS)  # the last of them was expected after 0.5 s
    assert egress.ask("early") is not None
    egress.forget("early")
    clock.go_on(0.001)
    assert egress.ask("living") is None
    assert egress.view().waiting == 0


def test_who_comes_late_has_still_come_first(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=5, burst=2)
    assert [egress.ask("x"), egress.ask("y")] == [None, None]
    for who in ("late", "second", "third"):
        egress.ask(who)
    clock.go_on(0.3 + module.GRACE_SECONDS)  # "late" was expected after 0.2 s; there are two tokens now
    assert [egress.ask("second"), egress.ask("third")] == [None, None]
    assert wait_of(egress.ask("newcomer")).seconds == 0.2
    assert wait_of(egress.ask("late")).seconds == 0.2
    assert wait_of(egress.ask("newcomer")).seconds == 0.4


def test_more_dead_places_than_the_bucket_holds_do_not_stop_it(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=20, burst=2)
    for number in range(12):
        egress.ask(f"dead{number}")
    begun = clock.now
    while wait := egress.ask("living"):
        clock.go_on(min(wait.seconds, 0.2))
        assert clock.now - begun < 2 * module.GRACE_SECONDS


def test_a_place_can_be_given_up(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=1)
    egress.ask("first")
    egress.ask("cancelled")
    assert wait_of(egress.ask("next")).seconds == 2
    egress.forget("cancelled")
    assert wait_of(egress.ask("next")).seconds == 1


def test_no_wait_for_the_rate_is_told_longer_than_the_longest(control: Control, clock: ServersClock) -> None:
    egress = an_egress(control, per_second=1 / 600)
    egress.ask("first")
    waits = [wait_of(egress.ask(f"v{i}")).seconds for i in range(3)]
    assert waits == [600, 900, 900]  # so a place whose holder died is found out


@given(st.integers(1, 8), st.floats(0.5, 1000), st.floats(0.5, 1000), st.integers(1, 8))
@examples(max_examples=25)
def test_another_rate_takes_effect_at_once_and_forgives_no_token(
    control: Control, burst: int, before: float, after: float, used: int
) -> None:
    used = min(used, burst)
    slow, fast = before / 3600, after / 3600
    with servers_clock() as clock:
        first = an_egress(control, per_second=slow, burst=burst)
        assert [first.ask(f"v{i}") for i in range(used)] == [None] * used
        clock.go_on(1e-5)  # more than a rounding, and no token comes back meanwhile
        second = Egress(control, first.identity, fast * 3600, burst)
        answers = [second.ask(f"w{i}") for i in range(burst - used + 1)]
        assert answers[:-1] == [None] * (burst - used)
        assert wait_of(answers[-1]).seconds == pytest.approx(min(1 / fast, 900), abs=0.05)
        assert second.view().videos_per_hour == pytest.approx(after, rel=1e-3)


NAMES = st.integers(0, 9)
STEPS = st.lists(st.tuples(st.floats(0, 40), NAMES), min_size=1, max_size=40)


@given(STEPS, st.sets(NAMES, max_size=8), st.integers(1, 5), st.floats(1, 30))
@examples(max_examples=40)
def test_the_law_of_the_bucket_and_no_one_waits_for_ever(
    control: Control, steps: list[tuple[float, int]], dead: set[int], burst: int, interval: float
) -> None:
    with servers_clock() as clock:
        egress = an_egress(control, per_second=1 / interval, burst=burst)
        grants: list[float] = []
        expected: dict[int, float] = {}

        def ask(name: int) -> None:
            wait = egress.ask(f"v{name}")
            if wait is None:
                grants.append(clock.now)
                expected.pop(name, None)
            else:
                expected[name] = clock.now + wait.seconds

        for seconds, name in steps:  # too early, in time, too late: as it comes
            clock.go_on(seconds)
            ask(name)
        begun, living = clock.now, len(expected.keys() - dead)
        while waiting := [(when, name) for name, when in expected.items() if name not in dead]:
            when, name = min(waiting)
            clock.go_on(max(0, when - clock.now) + 1e-5)
            ask(name)
        # Two waits at most, until the dead are forgotten and until one is looked at again.
        longest = 2 * min(900, 10 * interval) + 120 + living * interval
        assert clock.now - begun <= longest
    for i, start in enumerate(grants):
        for j in range(i, len(grants)):
            assert j - i + 1 <= burst + (grants[j] - start) / interval + 1e-3


# --- the rate, by the true clock, over processes ---

ASKER = """
import json, sys, threading, time
from broker import egress as module
from broker.control import Control
noting = "local function grant()\\n  redis.call('RPUSH', state .. ':grants', text(now))\\n"
assert module.ASK.count("local function grant()\\n") == 1
module.ASK = module.ASK.replace("local function grant()\\n", noting)
url, identity, rate, burst, name, count, each = sys.argv[1:]
egress = module.Egress(Control(url), identity, float(rate) * 3600, int(burst))
got = []
def ask(thread):
    for number in range(int(each)):
        while (wait := egress.ask(f"{name}-{thread}-{number}")) is not None:
            time.sleep(wait.seconds)
        got.append(number)
threads = [threading.Thread(target=ask, args=(i,)) for i in range(int(count))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(len(got)))
"""
"""Asks until each of its threads was granted so many; the server itself notes when it granted what."""


def test_the_rate_holds_over_processes_and_nobody_starves(server: EmbeddedBroker, control: Control) -> None:
    rate, burst, processes, threads, each = 30.0, 15, 4, 6, 7
    identity = f"test-{uuid.uuid4().hex}"
    line = [sys.executable, "-c", ASKER, server.url, identity, str(rate), str(burst)]
    asking = [
        subprocess.Popen([*line, str(i), str(threads), str(each)], stdout=subprocess.PIPE, text=True)
        for i in range(processes)
    ]
    wanted = processes * threads * each
    # Each of them gets all that it asks for, in the end: how soon, depends on when its process is let run.
    assert [json.loads(process.communicate(timeout=250)[0]) for process in asking] == [
        threads * each
    ] * processes
    with control.server() as redis:
        times = [float(time) for time in redis.lrange(control.key(f"egress:{identity}:state:grants"), 0, -1)]
    assert len(times) == wanted
    for i, start in enumerate(times):  # the law, for every window, by the clock that the rate goes by
        for j in range(i, len(times)):
            assert j - i + 1 <= burst + rate * (times[j] - start) + 1e-3
    assert Egress(control, identity, rate * 3600, burst).view().granted == wanted
