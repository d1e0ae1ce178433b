"""Cancelling in the books: what is open ends, what is done or another's stays, and it can go on later."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from samples_of_books import FAILURE, RECIPE, a_plan, a_result, a_video, planned
from sqlalchemy import event

from broker.catalog import Catalog
from broker.errors import NotFound, WorkCancelled
from broker.messages import Segment
from broker.priority import Priority
from broker.views import State


@contextmanager
def statements(catalog: Catalog) -> Iterator[list[str]]:
    """What is asked of the database meanwhile."""
    engine, seen = catalog.work._database.engine(), list[str]()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def states(catalog: Catalog, job_id: str = "job") -> list[tuple[State, str]]:
    links = catalog.job_light(job_id).links
    return [(link.state, link.failure.code if link.failure else "") for link in links]


def test_cancel_ends_what_is_open_and_keeps_what_is_done(catalog: Catalog) -> None:
    first, second, third = planned(catalog, 3)
    catalog.create_job("job", RECIPE, ["ab.mp4", "other.mp4", "bad.mp4"])
    catalog.fail_link("job", 2, FAILURE)
    catalog.settle_segment(a_result(first))
    done = catalog.cancel_job("job")
    assert (done.links, done.segments, done.positions) == (2, 2, (0, 1))
    assert states(catalog) == [
        (State.PARTIAL, "cancelled"),
        (State.FAILED, "cancelled"),
        (State.FAILED, FAILURE.code),
    ]
    job = catalog.job("job")
    assert job.final and job.cancelled_at is not None
    assert [s.state for s in job.links[0].segments] == [State.DONE, State.FAILED, State.FAILED]
    assert set(done.tickets) == {second.key, third.key}
    assert min(done.tickets.values()) > max(second.ticket, third.ticket)
    summary = catalog.work.summary("job")
    assert (summary.segments.done, summary.segments.failed, summary.segments.total) == (1, 2, 3)
    again = catalog.cancel_job("job")  # the process that called first may have died before it told anybody
    assert (again.links, again.segments) == (0, 0)
    assert (again.positions, again.tickets) == (done.positions, done.tickets)


def test_an_ended_job_is_not_called_cancelled_and_an_unknown_one_not_found(catalog: Catalog) -> None:
    (segment,) = planned(catalog, 1)
    catalog.settle_segment(a_result(segment))
    assert catalog.cancel_job("job").links == 0
    assert catalog.job_light("job").cancelled_at is None
    with pytest.raises(NotFound, match="no job 'nothing'"):
        catalog.cancel_job("nothing")


def test_segments_that_another_job_waits_for_go_on(catalog: Catalog) -> None:
    planned(catalog, 2)
    todo = planned(catalog, 2, job_id="waits")
    done = catalog.cancel_job("job")
    assert (done.links, done.segments, done.tickets) == (1, 0, {})
    assert [s.state for s in catalog.job("waits").links[0].segments] == [State.QUEUED] * 2
    for segment in todo:
        catalog.settle_segment(a_result(segment))
    assert states(catalog, "waits") == [(State.DONE, "")]


@pytest.mark.parametrize("what", ["plan", "list", "fail"])
def test_what_a_worker_brings_after_a_cancelling_is_not_booked(catalog: Catalog, what: str) -> None:
    catalog.create_job("job", RECIPE, ["ab.mp4"])
    catalog.start_link("job", 0)
    catalog.cancel_job("job")
    video = a_video()
    if what == "plan":
        with pytest.raises(WorkCancelled, match="job was cancelled"):
            catalog.plan_video("job", 0, video, a_plan(video, 2))
    elif what == "list":
        with pytest.raises(WorkCancelled):
            catalog.list_link("job", 0, ["https://a.example/1"], "A list", True)
    else:
        catalog.fail_link("job", 0, FAILURE)
    assert states(catalog) == [(State.FAILED, "cancelled")]
    assert catalog.known_video(video.id) is None


def test_a_planning_at_the_same_time_leaves_nothing_open(catalog: Catalog) -> None:
    with ThreadPoolExecutor(2) as threads:
        for number in range(8):
            job_id, video = f"job{number}", a_video(f"v{number}")
            catalog.create_job(job_id, RECIPE, ["ab.mp4"])
            catalog.start_link(job_id, 0)

            def plan(job_id: str = job_id, video=video) -> list[Segment]:
                try:
                    return catalog.plan_video(job_id, 0, video, a_plan(video, 2, job_id))
                except WorkCancelled:
                    return []

            sent, done = threads.submit(plan), threads.submit(catalog.cancel_job, job_id)
            newer = done.result().tickets
            assert all(newer[segment.key] > segment.ticket for segment in sent.result())
            job = catalog.job(job_id)
            assert job.final and job.cancelled_at is not None
            assert all(segment.state == State.FAILED for segment in job.links[0].segments)


def test_a_cancelled_job_is_taken_up_again(catalog: Catalog) -> None:
    (segment,) = planned(catalog, 1)
    catalog.cancel_job("job")
    assert catalog.retry() == {}  # not unless it is asked for
    assert catalog.known_reasons("job") == {"cancelled": 1, "permanent": 1}
    assert catalog.retry(["cancelled"], "job") == {"job": [0]}
    assert catalog.job_light("job").cancelled_at is None
    (again,) = catalog.plan_video("job", 0, segment.video, a_plan(segment.video, 1))
    voided = catalog.cancel_job("job").tickets
    assert segment.ticket < again.ticket < voided[again.key]
    catalog.create_job("job", RECIPE, ["ab.mp4"], priority=Priority.HIGH)
    assert states(catalog) == [(State.QUEUED, "")]
    job = catalog.job_light("job")
    assert (job.cancelled_at, job.priority) == (None, Priority.HIGH)
    catalog.create_job("job", RECIPE, ["ab.mp4"])
    assert catalog.link_order("job", 0).priority == Priority.HIGH


def test_a_large_job_is_cancelled_and_deleted_in_as_many_statements_as_a_small_one(catalog: Catalog) -> None:
    counts = []
    for job_id, videos in (("small", 2), ("large", 40)):
        clips = [a_video(f"{job_id}{n}") for n in range(videos)]
        catalog.create_job(job_id, RECIPE, [clip.source for clip in clips])
        for position, clip in enumerate(clips):
            catalog.plan_video(job_id, position, clip, a_plan(clip, 2, job_id))
        with statements(catalog) as seen:
            assert catalog.cancel_job(job_id).segments == 2 * videos
            erased = catalog.erasing.delete_job(job_id)
        assert (erased.counts.videos, erased.counts.segments) == (videos, 2 * videos)
        assert len(erased.tickets) == 2 * videos and len(set(erased.places)) == 8 * videos
        counts.append(len(seen))
    assert counts[0] == counts[1] > 10
