"""Held segments: the bound in front of a device, whose turn it is, and that none is lost on the way."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers_clock import ServersClock, servers_clock

from broker.app import create_app
from broker.backlog import RESERVED_SECONDS, SEND_SECONDS, Backlog, HeldSegment, bound_of
from broker.backlog_pump import wake_all
from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.queue_lengths import on_control, waiting_in
from broker.settings import load_settings

DEVICE = "me.me-2"
BETWEEN = ("mask", DEVICE)


@pytest.fixture
def control(server: EmbeddedBroker, clock: ServersClock, request: pytest.FixtureRequest) -> Control:
    """By a clock that goes on when it is told to."""
    return Control(server.url, f"{request.node.name}:")


@pytest.fixture
def backlog(control: Control) -> Backlog:
    return Backlog(control)


def put(control: Control, queue: str, key: str) -> None:
    """A message about ``key`` in ``queue``, as kombu's lists have it."""
    with control.server() as server:
        server.lpush(f"{control.key('').removesuffix('hardpose:')}{queue}", key)


def take(control: Control, queue: str) -> str | None:
    with control.server() as server:
        found = server.rpop(f"{control.key('').removesuffix('hardpose:')}{queue}")
    return str(found) if found is not None else None


def hold(backlog: Backlog, key: str, rank: int = 3, ticket: str = "1", job: str = "job") -> None:
    message = {"task": "hardpose.pose", "args": [key]}
    backlog.hold(DEVICE, BETWEEN, key, message, ticket=ticket, job_id=job, rank=rank)


def arrive(backlog: Backlog, control: Control, key: str, bound: int, rank: int = 3) -> bool:
    """What the gate does; whether the segment went on."""
    room = backlog.room(DEVICE, BETWEEN, key, rank)
    if not room.lets_pass(bound):
        hold(backlog, key, rank)
        return False
    if room.awake:
        backlog.passed(DEVICE, key, "1")
    put(control, "mask", key)
    return True


def woken(backlog: Backlog, room: int) -> list[str]:
    held = backlog.wake(DEVICE, room, 50)
    for each in held:
        backlog.sent(DEVICE, each)
    return [each.key for each in held]


def test_what_is_held_counts_as_a_message_and_comes_back_as_it_was(
    backlog: Backlog, control: Control
) -> None:
    assert control.messages(["pose"]) == 0
    hold(backlog, "v/r/0", job="job-1")
    hold(backlog, "v/r/1", job="job-2")
    assert control.messages(["pose"]) == 2
    assert backlog.counts() == {DEVICE: 2}
    assert (backlog.of_job("job-1"), backlog.of_job("job-3")) == (1, 0)
    assert backlog.between(DEVICE) == BETWEEN
    (first,) = backlog.wake(DEVICE, 1, 50)
    assert first.message == {"task": "hardpose.pose", "args": ["v/r/0"]}
    assert control.messages(["pose"]) == 2  # not sent yet
    backlog.sent(DEVICE, first)
    assert control.messages(["pose"]) == 1
    assert backlog.of_job("job-1") == 0


def test_the_urgent_come_first_and_then_the_longest_held(backlog: Backlog, control: Control) -> None:
    for key, rank in (("a", 6), ("b", 3), ("c", 0), ("d", 3)):
        hold(backlog, key, rank)
    assert woken(backlog, 2) == ["c", "b"]
    assert woken(backlog, 2) == []  # there was room for two, and they are on their way
    hold(backlog, "b", 3)  # came too early: its old place
    assert woken(backlog, 2) == ["b"]
    assert woken(backlog, 9) == ["d", "a"]


def test_who_only_arrives_does_not_overtake(backlog: Backlog, control: Control) -> None:
    hold(backlog, "first")
    assert not backlog.room(DEVICE, BETWEEN, "second", 3).lets_pass(10)
    assert backlog.room(DEVICE, BETWEEN, "urgent", 0).lets_pass(10)
    assert woken(backlog, 1) == ["first"]
    assert not backlog.room(DEVICE, BETWEEN, "second", 3).lets_pass(1)  # the place is the first's
    assert backlog.room(DEVICE, BETWEEN, "first", 3).lets_pass(1)
    put(control, "mask", "x")
    assert not backlog.room(DEVICE, BETWEEN, "first", 3).lets_pass(1)  # woken or not: the bound holds


def test_one_that_was_taken_and_not_sent_comes_again(backlog: Backlog, clock: ServersClock) -> None:
    hold(backlog, "a")
    assert [each.key for each in backlog.wake(DEVICE, 5, 50)] == ["a"]
    clock.go_on(SEND_SECONDS - 0.001)
    assert backlog.wake(DEVICE, 5, 50) == []
    clock.go_on(0.002)
    assert [each.key for each in backlog.wake(DEVICE, 5, 50)] == ["a"]


def test_what_was_sent_and_is_held_again_at_once_stays(backlog: Backlog) -> None:
    hold(backlog, "a")
    (taken,) = backlog.wake(DEVICE, 5, 50)
    hold(backlog, "a")  # the message was faster than its sender
    backlog.sent(DEVICE, taken)
    assert backlog.counts() == {DEVICE: 1}


def test_a_late_woken_one_may_still_pass_and_its_place_is_not_kept_for_ever(
    backlog: Backlog, clock: ServersClock
) -> None:
    hold(backlog, "a")
    hold(backlog, "b")
    assert woken(backlog, 1) == ["a"]
    clock.go_on(RESERVED_SECONDS - 0.001)
    assert woken(backlog, 1) == []
    clock.go_on(0.002)
    assert woken(backlog, 1) == ["b"]
    assert backlog.room(DEVICE, BETWEEN, "a", 3).awake
    assert backlog.room(DEVICE, BETWEEN, "a", 3).lets_pass(1)


def test_void_messages_are_dropped_and_newer_ones_stay(backlog: Backlog, control: Control) -> None:
    hold(backlog, "cancelled", ticket="5")
    hold(backlog, "sent anew", ticket="7")
    hold(backlog, "woken", ticket="1")
    control.void_tickets({"cancelled": "6:void", "sent anew": "6", "elsewhere": "6"})
    assert backlog.counts() == {DEVICE: 2}
    assert woken(backlog, 5) == ["sent anew", "woken"]


def test_nothing_is_left_when_all_have_passed(backlog: Backlog, control: Control) -> None:
    for key in ("a", "b", "c"):
        hold(backlog, key)
    control.void_tickets({"c": "9:void"})
    for each in woken(backlog, 5):
        assert arrive(backlog, control, each, 5)
    with control.server() as server:
        left = {str(key).rpartition(":held:")[2] for key in server.scan_iter(f"{control.key('held:')}*")}
    assert left == {"serial", "between"}


@pytest.mark.parametrize("broker", ["the same Redis", "another Redis"])
def test_lengths_are_told_wherever_the_queues_are(server: EmbeddedBroker, broker: str) -> None:
    urls = {
        "the same Redis": {"broker_url": server.url},
        "another Redis": {"broker_url": f"{server.url[:-1]}5", "control_url": server.url},
    }
    given = load_settings(namespace="lengths", **urls[broker])
    control = Control.of(given)
    assert on_control(given) is (broker == "the same Redis")
    with create_app(given) as app:
        assert waiting_in(given, control, ("mask", DEVICE)) == 0
        for priority in (0, 3, 9):
            app.send_task("x", queue=DEVICE, priority=priority)
        assert waiting_in(given, control, ("mask", DEVICE, "never")) == 3


def test_what_is_woken_is_sent_as_it_was(server: EmbeddedBroker) -> None:
    given = load_settings(broker_url=server.url, namespace="woken", device_backlog=1)
    control = Control.of(given)
    with create_app(given) as app:
        rest = app.signature("hardpose.mask", queue="mask")
        sent = app.signature(
            "hardpose.pose", args=("it",), queue="pose", priority=6, task_id="one", chain=[rest]
        )
        for key in ("a", "b"):
            Backlog(control).hold(DEVICE, BETWEEN, key, sent, ticket="1", job_id="j", rank=6)
        assert [wake_all(app, given, control), wake_all(app, given, control)] == [1, 0]
        with app.connection_for_read() as connection:
            (message,) = [connection.default_channel.basic_get("pose", no_ack=True)]
    assert message is not None
    args, _, embedded = message.decode()
    assert (args, message.headers["id"], message.properties["priority"]) == (["it"], "one", 6)
    assert embedded["chain"][0]["task"] == "hardpose.mask"
    assert Backlog(control).counts() == {DEVICE: 1}


def test_where_messages_hold_pictures_the_smaller_bound_counts(server: EmbeddedBroker) -> None:
    given = load_settings(broker_url=server.url, namespace="bounds", device_backlog=9, inline_backlog=2)
    control = Control.of(given)
    held = Backlog(control)
    with create_app(given) as app:
        sent = app.signature("hardpose.pose", args=("it",), queue="pose")

        def woken_of(*inline: bool) -> int:
            for number, each in enumerate(inline):
                held.hold(
                    DEVICE,
                    (DEVICE,),
                    str(number),
                    sent,
                    ticket="1",
                    job_id="j",
                    rank=3,
                    inline=each,
                )
            woken = wake_all(app, given, control)
            control.void_tickets({str(number): "9" for number in range(len(inline))})
            for number in range(len(inline)):
                held.passed(DEVICE, str(number), "1")
            assert held.counts() == {}
            return woken

        assert [woken_of(*[True] * 5), woken_of(*[False] * 5)] == [2, 5]
        assert woken_of(True, False, False, False, False) == 2, "the gate would send the others back"
    few = load_settings(device_backlog=1)
    assert [bound_of(few, True), bound_of(given, True), bound_of(given, False)] == [1, 2, 9]


@dataclass
class World:
    """One pose queue, some workers, one device, and everything that may go wrong between them."""

    backlog: Backlog
    control: Control
    bound: int
    workers: int
    queue: list[str] = field(default_factory=list)
    in_hand: list[str] = field(default_factory=list)
    """Segments that have passed the gate and whose first stage is under way."""
    taken: list[HeldSegment] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    def ahead(self) -> int:
        return sum(self.control.lengths(BETWEEN)[0].values())

    def step(self, what: str) -> None:
        {
            "gate": self.gate,
            "gate_and_die": lambda: self.gate(die=True),
            "finish": self.finish,
            "wake": self.wake,
            "send": self.send,
            "send_and_die": lambda: self.send(die=True),
            "forget": self.forget,
            "mask": self.mask,
            "device": self.device,
        }[what]()

    def gate(self, die: bool = False) -> None:
        """A worker takes a message; one that dies afterwards leaves it in the queue."""
        if not self.queue or len(self.in_hand) >= self.workers:
            return
        key = self.queue[0] if die else self.queue.pop(0)
        room = self.backlog.room(DEVICE, BETWEEN, key, 3)
        if not room.lets_pass(self.bound):
            hold(self.backlog, key)
        elif not die:
            if room.awake:
                self.backlog.passed(DEVICE, key, "1")
            self.in_hand.append(key)

    def finish(self) -> None:
        if self.in_hand:
            put(self.control, "mask", self.in_hand.pop(0))

    def wake(self) -> None:
        room = self.bound - self.ahead()
        self.taken += self.backlog.wake(DEVICE, room, 50)

    def send(self, die: bool = False) -> None:
        """The pump sends one that it has taken, and may die before it can say so."""
        if self.taken:
            held = self.taken.pop(0)
            self.queue.append(held.key)
            if not die:
                self.backlog.sent(DEVICE, held)

    def forget(self) -> None:
        """The pump dies with what it has taken."""
        self.taken.clear()

    def mask(self) -> None:
        key = take(self.control, "mask")
        if key is not None:
            put(self.control, DEVICE, key)

    def device(self) -> None:
        key = take(self.control, DEVICE)
        if key is not None:
            self.done.add(key)


STEPS = st.sampled_from(
    ("gate", "gate_and_die", "finish", "wake", "send", "send_and_die", "forget", "mask", "device")
)


@settings(max_examples=100)
@given(
    steps=st.lists(STEPS, max_size=80),
    segments=st.integers(1, 12),
    bound=st.integers(1, 4),
    workers=st.integers(1, 3),
)
def test_whatever_happens_nothing_is_lost_and_the_bound_holds(
    server: EmbeddedBroker, steps: list[str], segments: int, bound: int, workers: int
) -> None:
    control = Control(server.url, "law:")
    control.clear_queue_state()
    keys = [f"v/r/{number}" for number in range(segments)]
    world = World(Backlog(control), control, bound, workers, queue=list(keys))
    with servers_clock() as clock:
        for step in steps:
            clock.go_on(0.001)
            world.step(step)
            assert world.ahead() + len(world.in_hand) <= bound + workers
        for _ in range(40 * segments):
            clock.go_on(RESERVED_SECONDS + 1)  # with everybody alive
            if world.done == set(keys) and not world.queue:
                break
            for step in ("gate", "finish", "mask", "device", "wake", "send"):
                world.step(step)
                assert world.ahead() + len(world.in_hand) <= bound + workers
    assert world.done == set(keys)
