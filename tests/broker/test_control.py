"""Tickets, attempts and progress on a real server."""

import pytest
from samples_of_books import a_plan, a_video

from broker.app import create_app
from broker.control import DONE_SECONDS, Control
from broker.embedded import EmbeddedBroker
from broker.errors import BrokerRefuses, BrokerUnavailable
from broker.messages import Segment
from broker.recipe import CHAIN, Stage
from broker.settings import load_settings
from broker.stage_progress import SETTLED_SECONDS
from workers.process import check_broker


def segment(index: int, ticket: str = "") -> Segment:
    return a_plan(a_video(), index + 1)[index].model_copy(update={"ticket": ticket})


def test_only_the_newest_message_of_a_segment_is_valid(control: Control) -> None:
    assert not control.newer_ticket(segment(0, "0"))  # a server without memory stops nobody
    control.issue_tickets([segment(0, "1"), segment(1, "5")])
    assert not control.newer_ticket(segment(0, "1"))
    control.issue_tickets([segment(0, "3")])
    control.issue_tickets([segment(0, "2")])  # a sender that was overtaken
    assert control.newer_ticket(segment(0, "1"))
    assert control.newer_ticket(segment(0, "2"))
    assert not control.newer_ticket(segment(0, "3"))
    assert not control.newer_ticket(segment(1, "5"))


def test_messages_about_stopped_links_are_void_until_they_are_sent_anew(control: Control) -> None:
    stopped = [control.issue_link_ticket("job", position) for position in range(3)]
    control.stop_links([("job", 0), ("job", 2)])
    assert [control.link_stopped("job", n, ticket) for n, ticket in enumerate(stopped)] == [True, False, True]
    assert [control.link_superseded("job", n, t) for n, t in enumerate(stopped)] == [True, False, True]
    again = control.issue_link_ticket("job", 0)
    assert not control.link_stopped("job", 0, again) and not control.link_superseded("job", 0, again)
    control.stop_links([])


def test_starts_without_an_end_are_counted(control: Control) -> None:
    assert [control.begin("pose") for _ in range(3)] == [1, 2, 3]
    assert control.begin("mask") == 1  # each piece of work for itself
    control.end("pose")
    assert control.begin("pose") == 1


def test_progress_counts_a_segment_once(control: Control) -> None:
    for index in (3, 4, 3):
        control.advance(segment(index), Stage.POSE)
    assert control.progress("job")[Stage.POSE] == 2
    assert control.progress("job")[Stage.COMPARE] == 0


def test_messages_are_counted_wherever_they_are(control: Control, server: EmbeddedBroker) -> None:
    settings = load_settings(broker_url=server.url, namespace="counted")
    counted = Control.of(settings)
    with create_app(settings) as app:
        assert counted.messages(["pose", "mask"]) == 0
        for priority in (0, 3, 9):
            app.send_task("hardpose.pose", args=(), queue="pose", priority=priority)
        app.send_task("hardpose.me", args=(), queue="me")
        assert counted.messages(["pose", "mask"]) == 3  # of every priority, of these queues only
        with app.connection_for_read() as connection:
            queue = connection.SimpleQueue("pose")
            queue.get(timeout=100)  # taken, not acknowledged
            assert counted.messages(["pose", "mask"]) == 3
            queue.close()
    assert control.messages(["pose"]) == 0  # another system on the same server


def test_a_server_that_does_not_answer_is_a_typed_error() -> None:
    with pytest.raises(BrokerUnavailable, match="HARDPOSE_BROKER_URL"):
        Control("redis://127.0.0.1:1/0").ping()
    with pytest.raises(BrokerUnavailable):
        Control("redis://127.0.0.1:1/0").newer_ticket(segment(0))


def test_a_broker_of_another_kind_needs_a_control_url() -> None:
    with pytest.raises(BrokerUnavailable, match="HARDPOSE_CONTROL_URL"):
        Control.of(load_settings(broker_url="amqp://guest@127.0.0.1//"))


def test_a_worker_does_not_wait_for_a_control_url_that_is_not_set() -> None:
    with pytest.raises(BrokerRefuses, match="HARDPOSE_CONTROL_URL"):
        check_broker(load_settings(broker_url="amqp://guest@127.0.0.1//"))


def test_of_a_settled_segment_only_its_count_is_kept(server: EmbeddedBroker) -> None:
    control = Control.of(load_settings(broker_url=server.url, namespace="settled"))
    segments = [segment(index, "7") for index in range(20)]
    control.issue_tickets(segments)
    for done in segments:
        for stage in CHAIN:
            control.advance(done, stage)
            control.advance(done, stage)  # its message was delivered twice
    assert control.progress("job") == dict.fromkeys(CHAIN, 20)
    with control.server() as server:
        kept = {str(name) for name in server.scan_iter(match=control.key("*"))}
        tickets = {control.key(f"ticket:{each.key}") for each in segments}
        assert kept == tickets | {control.key("stage-counts:job")}
        assert all(0 < server.ttl(ticket) <= SETTLED_SECONDS for ticket in tickets)


def test_a_segment_that_was_cancelled_meanwhile_stays_void(control: Control) -> None:
    settled = segment(0, "7")
    control.issue_tickets([settled])
    control.void_tickets({settled.key: "8"})
    control.advance(settled, Stage.COMPARE)
    with control.server() as server:
        assert server.ttl(control.key(f"ticket:{settled.key}")) > SETTLED_SECONDS
    assert control.newer_ticket(settled)


def test_the_ticket_of_a_planned_link_is_kept_for_a_while(control: Control) -> None:
    ticket = control.issue_link_ticket("job", 0)
    control.link_planned("job", 0, "0" + ticket[1:])  # an older message of it
    with control.server() as server:
        assert server.ttl(control.key("ticket:link:job:0")) > DONE_SECONDS
        control.link_planned("job", 0, ticket)
        assert 0 < server.ttl(control.key("ticket:link:job:0")) <= DONE_SECONDS
