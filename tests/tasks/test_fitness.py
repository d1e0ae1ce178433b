"""Who may yet take a segment that a worker could not: laws over racks, and the refusals in a real server."""

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from celery import Celery
from celery.app.task import Context
from celery.exceptions import Reject
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, generate_latest
from samples_of_books import a_plan, a_video
from servers_clock import ServersClock, servers_clock

from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.errors import BrokerUnavailable, WeightsError
from broker.presence import SETTLED_SECONDS, Presence, Unfit, WorkerCard
from broker.recipe import ModelSpec, Stage
from broker.refusals import Refusals, Refused
from broker.settings import Settings, load_settings
from tasks import fitness
from tasks.attempts import OutOfMemory
from tasks.fitness import (
    MOST_FIT_TAKES,
    MOST_TAKES,
    TOLD_SECONDS,
    Fitness,
    has_gone_round,
    is_unloadable,
    leave_to_others,
    who_may_take,
)
from tasks.retrying import AwayPause
from tasks.runtime import Runtime
from workers.devices.errors import DeviceAway
from workers.metrics import worker_metrics
from workers.metrics_server import is_ready

NOW = 1_000_000.0
NOBODY = Refused(frozenset(), frozenset(), 0, 0)
MISSING = WeightsError("The weights are not here.", "Bring them.")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path_factory.mktemp("fitness")) as broker:
        yield broker


@pytest.fixture
def control(server: EmbeddedBroker, request: pytest.FixtureRequest) -> Control:
    return Control(server.url, f"{request.node.name}:")


def a_card(pid: int, *queues: str, unfit: Unfit | None = None) -> WorkerCard:
    return WorkerCard(name=f"w{pid}", host="h", pid=pid, queues=queues, version="1", started=1.0, unfit=unfit)


def unfit_at(at: float, *stages: Stage) -> Unfit:
    return Unfit(code="weights", cause="gone", stages=stages or (Stage.POSE,), at=at)


LATELY, LONG_AGO = unfit_at(NOW - 1), unfit_at(NOW - 2 * TOLD_SECONDS)


@pytest.mark.parametrize(
    ("card", "refused", "may"),
    [
        (a_card(1, "pose"), NOBODY, True),
        (a_card(1, "mask", "download"), NOBODY, False),  # it serves another queue
        (a_card(1, "pose", unfit=LATELY), NOBODY, False),
        (a_card(1, "pose", unfit=LONG_AGO), NOBODY, True),  # it had nothing to do since: nobody knows
        (a_card(1, "pose", unfit=LONG_AGO), Refused(frozenset({"h:1"}), frozenset(), 1, 0), False),
        (a_card(1, "pose"), Refused(frozenset({"h:1"}), frozenset(), 1, 0), True),  # mended since
        (a_card(1, "pose"), Refused(frozenset(), frozenset({"h:1"}), 1, 1), False),  # not under this recipe
        (a_card(1, "pose", "mask", unfit=unfit_at(NOW, Stage.MASK)), NOBODY, True),  # unfit for other work
        (a_card(1, "pose+mask", unfit=unfit_at(NOW, Stage.MASK)), NOBODY, False),
    ],
)
def test_who_may_take_a_segment_of_pose(card: WorkerCard, refused: Refused, may: bool) -> None:
    queue = "pose+mask" if "pose+mask" in card.queues else "pose"
    assert who_may_take(queue, [card], (), refused, NOW) == ({"h:1"} if may else frozenset())


def test_who_is_only_just_loading_is_waited_for() -> None:
    assert who_may_take("pose", [], ["h:2"], NOBODY, NOW) == {"h:2"}
    told = [a_card(2, "pose", unfit=LATELY)]
    assert who_may_take("pose", told, ["h:2"], NOBODY, NOW) == frozenset(), "it has loaded, and could not"


@dataclass
class Rack:
    """Workers of one queue that are given one segment, by chance, until it is done or has failed."""

    broken: set[int]
    """Those that can load nothing."""
    fit: set[int]
    knows: bool
    """Whether the fit ones can load what the segment's recipe names."""
    seconds_between: float
    now: float = NOW
    marks: dict[int, float] = field(default_factory=dict)
    takes: list[int] = field(default_factory=list)

    def run(self, chance: random.Random) -> str:
        everybody = sorted(self.broken | self.fit)
        while True:
            self.now += self.seconds_between
            worker = chance.choice(everybody)
            self.takes.append(worker)
            if worker in self.fit and self.knows:
                return "done"
            if worker in self.broken:
                self.marks[worker] = self.now
            if has_gone_round(self.refused()) or not self.left() - {f"h:{worker}"}:
                return "failed"

    def refused(self) -> Refused:
        unfit = frozenset(f"h:{n}" for n in self.takes if n in self.broken)
        fit = frozenset(f"h:{n}" for n in self.takes if n in self.fit)
        return Refused(unfit, fit, len(self.takes), sum(n in self.fit for n in self.takes))

    def left(self) -> frozenset[str]:
        cards = [
            a_card(n, "pose", unfit=unfit_at(self.marks[n]) if n in self.marks else None)
            for n in self.broken | self.fit
        ]
        return who_may_take("pose", cards, (), self.refused(), self.now)


@given(
    broken=st.sets(st.integers(0, 9)),
    fit=st.sets(st.integers(10, 19)),
    knows=st.booleans(),
    seconds=st.floats(0.01, 3 * TOLD_SECONDS),
    seed=st.integers(0, 2**32),
)
def test_it_always_ends_and_nothing_fails_that_somebody_can_do(
    broken: set[int], fit: set[int], knows: bool, seconds: float, seed: int
) -> None:
    if not broken | fit:
        return
    rack = Rack(broken, fit, knows, seconds)
    how = rack.run(random.Random(seed))
    assert len(rack.takes) <= MOST_TAKES
    if fit and knows:
        assert how == "done" or len(rack.takes) == MOST_TAKES
        return
    assert how == "failed"
    assert sum(n in fit for n in rack.takes) <= MOST_FIT_TAKES
    if not fit:
        assert set(rack.takes) == broken or len(rack.takes) == MOST_TAKES, "somebody was not asked"


def test_refusals_are_added_up_where_no_killed_process_forgets_them(control: Control) -> None:
    refusals = Refusals(control)
    assert refusals.refuse("a", "recipe", "h:1", fit=False) == Refused(
        frozenset({"h:1"}), frozenset(), takes=1, fit_takes=0
    )
    refusals.refuse("a", "recipe", "h:1", fit=False)
    assert Refusals(control).refuse("a", "recipe", "h:2", fit=True) == Refused(
        frozenset({"h:1"}), frozenset({"h:2"}), takes=3, fit_takes=1
    )
    other = refusals.refuse("b", "recipe", "h:3", fit=False)
    assert other == Refused(frozenset({"h:3"}), frozenset({"h:2"}), 1, 0), "a kind is the same for all"
    assert refusals.refuse("c", "another", "h:1", fit=False).fit == frozenset()


def test_a_worker_that_comes_is_expected_until_it_has_come(control: Control) -> None:
    refusals = Refusals(control)
    refusals.coming("h:1", ("pose", "mask"))
    refusals.coming("h:2", ("pose",))
    assert refusals.expected("pose") == {"h:1", "h:2"}
    assert refusals.expected("me") == frozenset()
    refusals.came("h:1", ("pose", "mask"))
    assert (refusals.expected("pose"), refusals.expected("mask")) == ({"h:2"}, frozenset())


def test_who_was_killed_while_it_came_is_not_expected_for_ever(control: Control) -> None:
    with control.server() as server:
        server.zadd(control.key("workers:coming"), {"pose h:1": 1.0})
    assert Refusals(control).expected("pose") == frozenset()


def failing(here: Runtime, error: Exception) -> Exception:
    try:
        with here.loading(Stage.POSE):
            raise error
    except type(error) as raised:
        return raised


def caused(error: Exception, cause: Exception) -> Exception:
    again = type(error)(*error.args)
    again.__cause__ = cause
    return again


@pytest.mark.parametrize(
    ("error", "about"),
    [
        (MISSING, True),
        (ImportError("libcuda.so.1"), True),
        (DeviceAway("It is off.", "Switch it on."), False),  # its segment waits for it
        (BrokerUnavailable("It is away.", "Start it."), False),
        (caused(MISSING, BrokerUnavailable("It could not be asked.", "Start it.")), False),
    ],
)
def test_what_is_raised_while_loading_is_about_the_worker(
    error: Exception, about: bool, settings: Settings
) -> None:
    here = Runtime(settings)
    assert not is_unloadable(here, error)
    assert is_unloadable(here, failing(here, error)) is about
    assert not is_unloadable(here, WeightsError("The same words", "of a picture."))


def test_a_full_memory_while_loading_is_about_the_worker(settings: Settings) -> None:
    here = Runtime(settings)
    wrapped = OutOfMemory("It needs more than there is.", "Give it more.")
    wrapped.__cause__ = failing(here, MemoryError())
    assert is_unloadable(here, wrapped)


def test_a_worker_is_shown_as_unfit_and_as_fit_again(server: EmbeddedBroker, tmp_path: Path) -> None:
    here = Runtime(load_settings(home=tmp_path, broker_url=server.url, namespace="shown"))
    here.card = a_card(1, "compare")
    presence, fitness = Presence(here.control), Fitness()
    presence.announce(here.card)
    assert "unfit" not in stored(here, presence), "a worker of the release before could not read it"
    fitness.fit(here)
    assert presence.card("h:1") == here.card

    error = failing(here, WeightsError("Not at https://ann:sesame@x.example/w.bin", "Bring it."))
    fitness.unfit(here, error)
    (card,) = presence.alive()
    assert card.unfit is not None
    assert (card.unfit.code, card.unfit.stages) == ("weights", (Stage.POSE,))
    assert "sesame" not in card.unfit.cause
    fitness.fit(here)
    assert presence.alive()[0].unfit is not None, "nothing was loaded since"
    here.unable.clear()
    fitness.fit(here)
    assert presence.alive()[0].unfit is None


def test_an_unfit_worker_is_not_ready() -> None:
    models = {Stage.POSE: ModelSpec(name="blazepose", version="1")}
    fit = a_card(1, "pose").model_copy(update={"models": models})
    assert is_ready(fit)
    assert not is_ready(fit.model_copy(update={"unfit": LATELY}))


def test_the_worker_counts_itself_as_unfit_by_the_code_of_the_error() -> None:
    def told() -> set[str]:
        lines = generate_latest(REGISTRY).decode().splitlines()
        return {line for line in lines if line.startswith("hardpose_worker_unfit{")}

    counts = worker_metrics()
    counts.found_unfit("weights")
    counts.found_unfit("no_provider")
    both = {'hardpose_worker_unfit{code="weights"} 0.0', 'hardpose_worker_unfit{code="no_provider"} 1.0'}
    assert told() == both
    counts.found_unfit("")
    assert told() == {line.replace("1.0", "0.0") for line in both}


def stored(here: Runtime, presence: Presence) -> str:
    with here.control.server() as server:
        return str(server.hget(here.control.key("workers"), "h:1"))


def test_the_rest_grows_and_begins_anew_when_the_worker_is_fit() -> None:
    rest, now, taken = AwayPause(1.0, 15.0, 60.0), 0.0, []
    for _ in range(6):
        taken.append(rest.pause(now))
        now += taken[-1] + 30  # loading took its time
    assert taken == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    rest.ended()
    assert rest.pause(now) == 1.0


@pytest.fixture
def clock() -> Iterator[ServersClock]:
    with servers_clock() as clock:
        yield clock


@pytest.fixture
def unfit_one(server: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A worker of ``pose`` that can load nothing, and does not rest; it is heard of."""
    mine = Fitness()
    mine.rest = AwayPause(0.0, 0.0)
    monkeypatch.setattr(fitness, "process_fitness", lambda: mine)
    monkeypatch.setattr(fitness, "REST_SECONDS", 0.0)
    here = Runtime(load_settings(home=tmp_path, broker_url=server.url, namespace=f"t{uuid.uuid4().hex[:12]}"))
    here.card = a_card(1, "pose")
    Presence(here.control).announce(here.card)
    return here


def do_nothing() -> None:
    """It never comes to it."""


def given_a_segment(here: Runtime) -> BaseException | None:
    task = Celery(set_as_current=False).task(name="hardpose.pose")(do_nothing)
    task.request_stack.push(Context(id="x", delivery_info={"routing_key": "pose"}))
    (segment,) = a_plan(a_video(), 1)
    return leave_to_others(task, here, (Stage.POSE,), segment, failing(here, MISSING))


def test_alone_it_fails_its_segments_once_everybody_was_heard(
    unfit_one: Runtime, clock: ServersClock
) -> None:
    Presence(unfit_one.control).beat("h:1")
    clock.go_on(SETTLED_SECONDS)
    assert given_a_segment(unfit_one) is None


@pytest.mark.parametrize("lost", ["memory", "time"])
def test_a_broker_that_is_there_again_has_not_heard_of_the_others_yet(
    lost: str, unfit_one: Runtime, clock: ServersClock
) -> None:
    presence, control = Presence(unfit_one.control), unfit_one.control
    presence.announce(a_card(2, "pose"))
    clock.go_on(SETTLED_SECONDS)
    assert isinstance(given_a_segment(unfit_one), Reject)
    if lost == "memory":
        with control.server() as redis:
            redis.delete(*redis.keys(control.key("*")))
    else:
        clock.go_on(10 * SETTLED_SECONDS)
    assert isinstance(given_a_segment(unfit_one), Reject), "the other has not had the time to beat"
    clock.go_on(SETTLED_SECONDS / 2)
    presence.announce(a_card(2, "pose"))
    clock.go_on(SETTLED_SECONDS / 2)
    assert isinstance(given_a_segment(unfit_one), Reject), "it is there"
    presence.withdraw("h:2")
    assert given_a_segment(unfit_one) is None


def test_what_was_not_heard_is_told_with_the_next_segment(unfit_one: Runtime) -> None:
    mine, presence = Fitness(), Presence(unfit_one.control)
    mine.unfit(unfit_one, failing(unfit_one, MISSING))
    unfit_one.unable.clear()
    reachable = unfit_one.control
    unfit_one.control = Control("redis://127.0.0.1:1/0")
    mine.fit(unfit_one)
    unfit_one.control = reachable
    assert presence.alive()[0].unfit is not None
    mine.fit(unfit_one)
    assert presence.alive()[0].unfit is None
