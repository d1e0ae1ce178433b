"""The rate of an egress, on a real server, asked by threads and by real processes."""

import json
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from egresses import an_egress, wait_of
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from broker import egress as module
from broker.control import Control
from broker.egress import Egress
from broker.embedded import EmbeddedBroker


def granted(egress: Egress, who: str, within: float = 5.0) -> float:
    """Asks as a worker does until ``who`` is granted; the time of the grant."""
    end = time.monotonic() + within
    while (wait := egress.ask(who)) is not None:
        assert time.monotonic() < end, f"{who} waits for ever: {wait}"
        time.sleep(wait.seconds)
    return time.monotonic()


# --- the rate ---


def test_a_burst_is_granted_at_once_and_no_more(control: Control) -> None:
    egress = an_egress(control, per_second=1, burst=3)
    answers = [egress.ask(f"v{i}") for i in range(5)]
    assert answers[:3] == [None, None, None]
    assert wait_of(answers[3]).reason == "rate"
    assert wait_of(answers[3]).seconds == pytest.approx(1, abs=0.2)
    assert wait_of(answers[4]).seconds == pytest.approx(2, abs=0.2)  # the next free slot, not the same


def test_asking_too_early_keeps_the_slot_and_asking_at_it_grants(control: Control) -> None:
    egress = an_egress(control, per_second=1)
    assert egress.ask("first") is None
    first, early = wait_of(egress.ask("a")), wait_of(egress.ask("a"))
    assert early.seconds <= first.seconds
    assert wait_of(egress.ask("b")).seconds == pytest.approx(2, abs=0.4)  # a's asking took one slot
    time.sleep(early.seconds)
    assert egress.ask("a") is None
    assert egress.ask("a") is not None  # that token is used up


def test_first_come_first_served(control: Control) -> None:
    egress = an_egress(control, per_second=10)
    names = [f"v{i:02}" for i in range(12)]
    for name in names:
        egress.ask(name)  # v00 is granted here
    with ThreadPoolExecutor(11) as pool:
        times = list(pool.map(lambda name: granted(egress, name), names[1:]))
    assert times == sorted(times)


def test_a_token_that_is_kept_for_another_is_not_given_away(control: Control) -> None:
    egress = an_egress(control, per_second=2, burst=2)
    assert [egress.ask("x"), egress.ask("y")] == [None, None]
    egress.ask("head")
    time.sleep(0.6)  # one token is there now, and it is the head's
    assert egress.ask("newcomer") is not None
    assert egress.ask("head") is None


def test_places_that_nobody_takes_up_hold_up_nobody(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.3)
    egress = an_egress(control, per_second=10)
    egress.ask("first")
    for i in range(5):
        egress.ask(f"dead{i}")
    assert egress.view().waiting == 5
    time.sleep(0.9)  # the last of them was expected after 0.5 s
    assert egress.ask("living") is None
    assert egress.view().waiting == 0


def test_who_comes_late_has_still_come_first(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.1)
    egress = an_egress(control, per_second=5, burst=2)
    assert [egress.ask("x"), egress.ask("y")] == [None, None]
    for who in ("late", "second", "third"):
        egress.ask(who)
    time.sleep(0.5)  # "late" was expected after 0.2 s; there are two tokens now
    assert [egress.ask("second"), egress.ask("third")] == [None, None]
    newcomer = wait_of(egress.ask("newcomer")).seconds
    assert wait_of(egress.ask("late")).seconds < newcomer
    assert wait_of(egress.ask("newcomer")).seconds > newcomer


def test_more_dead_places_than_the_bucket_holds_do_not_stop_it(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.1)
    egress = an_egress(control, per_second=20, burst=2)
    for number in range(12):
        egress.ask(f"dead{number}")
    waited = time.monotonic()
    while wait := egress.ask("living"):
        time.sleep(min(wait.seconds, 0.2))
    assert time.monotonic() - waited < 2.0


def test_a_place_can_be_given_up(control: Control) -> None:
    egress = an_egress(control, per_second=1)
    egress.ask("first")
    egress.ask("cancelled")
    before = wait_of(egress.ask("next")).seconds
    egress.forget("cancelled")
    assert wait_of(egress.ask("next")).seconds == pytest.approx(before - 1, abs=0.1)


def test_no_wait_for_the_rate_is_told_longer_than_the_longest(control: Control) -> None:
    egress = an_egress(control, per_second=1 / 600)
    egress.ask("first")
    waits = [wait_of(egress.ask(f"v{i}")).seconds for i in range(3)]
    assert waits == [pytest.approx(600, abs=1), 900, 900]  # so a place whose holder died is found out


@given(st.integers(1, 8), st.floats(0.5, 1000), st.floats(0.5, 1000), st.integers(1, 8))
@examples(max_examples=25)
def test_another_rate_takes_effect_at_once_and_forgives_no_token(
    control: Control, burst: int, before: float, after: float, used: int
) -> None:
    used = min(used, burst)
    slow, fast = before / 3600, after / 3600  # so slow that no token comes back meanwhile
    first = an_egress(control, per_second=slow, burst=burst)
    assert [first.ask(f"v{i}") for i in range(used)] == [None] * used
    second = Egress(control, first.identity, fast * 3600, burst)
    answers = [second.ask(f"w{i}") for i in range(burst - used + 1)]
    assert answers[:-1] == [None] * (burst - used)
    assert wait_of(answers[-1]).seconds == pytest.approx(min(1 / fast, 900), rel=0.01, abs=0.5)
    assert second.view().videos_per_hour == pytest.approx(after, rel=1e-3)


# --- the rate, by a clock of ours ---

NAMES = st.integers(0, 9)
STEPS = st.lists(st.tuples(st.floats(0, 40), NAMES), min_size=1, max_size=40)


class Clock:
    """Stands in for the server's clock inside the scripts, so that hours pass in no time."""

    def __init__(self, control: Control, patch: pytest.MonkeyPatch) -> None:
        self._control, self.now = control, time.time()
        key = control.key("clock")
        scripted = f"{{math.floor(redis.call('GET', '{key}')), 1e6 * (redis.call('GET', '{key}') % 1)}}"
        patch.setattr(module, "ASK", module.ASK.replace("redis.call('TIME')", scripted))
        self.go_on(0)

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        with self._control.server() as redis:
            redis.set(self._control.key("clock"), f"{self.now:.6f}")


@given(STEPS, st.sets(NAMES, max_size=8), st.integers(1, 5), st.floats(1, 30))
@examples(max_examples=40)
def test_the_law_of_the_bucket_and_no_one_waits_for_ever(
    control: Control, steps: list[tuple[float, int]], dead: set[int], burst: int, interval: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(control, patch)
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


ASKER = """
import json, sys, threading, time
from broker.control import Control
from broker.egress import Egress
url, identity, rate, burst, name, count, seconds = sys.argv[1:]
control = Control(url)
egress = Egress(control, identity, float(rate) * 3600, int(burst))
grants, longest, lock, end = [], [0.0], threading.Lock(), time.time() + float(seconds)
def ask(thread):
    number = 0
    while time.time() < end:
        who, begun = f"{name}-{thread}-{number}", time.time()
        while (wait := egress.ask(who)) is not None and time.time() < end:
            time.sleep(wait.seconds)
        if wait is None:
            with lock:
                grants.append(time.time())
                longest[0] = max(longest[0], time.time() - begun)
        number += 1
threads = [threading.Thread(target=ask, args=(i,)) for i in range(int(count))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps([grants, longest[0]]))
"""


def test_the_rate_holds_over_processes_and_nobody_starves(server: EmbeddedBroker, control: Control) -> None:
    rate, burst, seconds, processes, threads = 30.0, 15, 7.0, 4, 6
    identity = f"test-{uuid.uuid4().hex}"
    line = [sys.executable, "-c", ASKER, server.url, identity, str(rate), str(burst)]
    asking = [
        subprocess.Popen([*line, str(i), str(threads), str(seconds)], stdout=subprocess.PIPE, text=True)
        for i in range(processes)
    ]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in asking]
    times = sorted(t for grants, _ in answers for t in grants)
    assert len(times) >= 100
    # The law, for every window; what a process notes of the server's time is late by some milliseconds.
    slack = 0.25
    for i, start in enumerate(times):
        for j in range(i, len(times)):
            assert j - i + 1 <= burst + rate * (times[j] - start + slack)
    steady = times[burst:]
    measured = (len(steady) - 1) / (steady[-1] - steady[0])
    assert measured == pytest.approx(rate, rel=0.05)
    fair = processes * threads / rate
    assert max(longest for _, longest in answers) < 5 * fair
    assert Egress(control, identity, rate * 3600, burst).view().granted == len(times)
