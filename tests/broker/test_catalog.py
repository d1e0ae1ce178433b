"""The books: one test body on SQLite and on PostgreSQL."""

import secrets
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples_of_books import FAILURE, RECIPE, a_keeper, a_plan, a_result, a_video, link_of, planned

from broker.catalog import Catalog, JobConflict
from broker.errors import FunnelMismatch, NotFound
from broker.messages import Drop, Funnel, SegmentResult, Verdict
from broker.recipe import ModelSpec, Stage
from broker.views import State


def test_a_job_is_made_once_and_grows(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["a", "b", "a"])
    first = catalog.job("job")
    assert first.recipe == RECIPE
    assert first.created_at.endswith("+00:00")
    assert [link.link for link in first.links] == ["a", "b", "a"]
    catalog.create_job("job", RECIPE, ["a", "b", "a"])
    assert catalog.job("job") == first
    catalog.create_job("job", RECIPE, ["c", "b"])
    assert [(link.position, link.link) for link in catalog.job("job").links] == [
        (0, "a"),
        (1, "b"),
        (2, "a"),
        (3, "c"),
    ]


def test_a_job_keeps_its_recipe(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["a"])
    other = RECIPE.model_copy(update={"pose_model": ModelSpec(name="m", version="2")})
    with pytest.raises(JobConflict, match=other.id):
        catalog.create_job("job", other, ["b"])
    assert [link.link for link in catalog.job("job").links] == ["a"]


def test_a_failed_link_is_queued_again_by_a_rerun(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["a", "b"])
    catalog.start_link("job", 0)
    catalog.fail_link("job", 0, FAILURE)
    failed = link_of(catalog)
    assert (failed.state, failed.failure) == (State.FAILED, FAILURE)
    assert [link.position for link in catalog.unfinished("job")] == [1]
    catalog.start_link("job", 0)
    assert link_of(catalog).state is State.FAILED, "only a queued link is started"
    catalog.create_job("job", RECIPE, ["a", "b"])
    again = link_of(catalog)
    assert (again.state, again.failure) == (State.QUEUED, None)


def test_what_is_not_there_is_named(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["a"])
    segment = a_plan(a_video(), 1)[0]
    for ask in (
        lambda: catalog.job("nope"),
        lambda: catalog.job_light("nope"),
        lambda: catalog.unfinished("nope"),
        lambda: catalog.start_link("job", 7),
        lambda: catalog.fail_link("nope", 0, FAILURE),
        lambda: catalog.plan_video("nope", 0, a_video(), []),
        lambda: catalog.settle_segment(a_result(segment)),
        lambda: catalog.fail_segment(segment, FAILURE),
    ):
        with pytest.raises(NotFound):
            ask()
    assert [job.id for job in catalog.jobs()] == ["job"]


# --- segments --------------------------------------------------------------------------------


def test_a_video_from_plan_to_done(catalog: Catalog) -> None:
    segments = planned(catalog, 2)
    assert link_of(catalog).state is State.RUNNING
    assert len({segment.ticket for segment in segments} - {""}) == 2
    results = [a_result(segment) for segment in segments]
    assert catalog.settle_segment(results[0]) is False
    assert link_of(catalog).state is State.RUNNING
    assert catalog.settle_segment(results[1]) is True
    job = catalog.job("job")
    link = job.links[0]
    assert (link.state, link.video, job.final) == (State.DONE, a_video(), True)
    assert [view.keepers for view in link.segments] == [result.keepers for result in results]
    assert [view.drops for view in link.segments] == [result.drops for result in results]
    assert link.segments[0].seconds == {Stage.POSE: 1.5}
    assert job.funnel() == Funnel(examined=4, verdicts={Verdict.NO_HEAD: 2, Verdict.HARD: 2}).check()
    light = catalog.job_light("job")
    assert light.funnel() == job.funnel()
    assert all(not view.keepers and not view.drops for view in light.links[0].segments)
    assert catalog.jobs() == [light]


def test_done_stays_done(catalog: Catalog) -> None:
    (segment,) = planned(catalog, 1)
    assert catalog.settle_segment(a_result(segment)) is True
    before = catalog.job("job")
    other = a_result(segment).model_copy(update={"examined": 0, "keepers": (), "drops": ()})
    assert catalog.settle_segment(other) is False
    assert catalog.fail_segment(segment, FAILURE) is False
    catalog.fail_link("job", 0, FAILURE)
    catalog.create_job("job", RECIPE, ["ab.mp4"])
    assert catalog.job("job") == before


def test_frames_that_do_not_add_up_are_refused_before_anything_is_written(catalog: Catalog) -> None:
    (segment,) = planned(catalog, 1)
    result = a_result(segment)
    twice = Drop(time_ms=segment.start_ms + 10, verdict=Verdict.NO_HEAD, value=0.1)
    undecided = result.keepers[0].model_copy(update={"verdict": None})
    for wrong in (
        {"examined": 3},  # a frame was lost
        {"drops": (twice,)},  # a frame was booked twice
        {"keepers": (undecided,)},  # a frame is on its way
    ):
        with pytest.raises(FunnelMismatch):
            catalog.settle_segment(result.model_copy(update=wrong))
    view = link_of(catalog).segments[0]
    assert (view.state, view.keepers, view.drops) == (State.QUEUED, (), ())


@pytest.mark.parametrize(
    ("failed", "state"),
    [
        ({1}, State.PARTIAL),  # the video goes on without it
        ({0, 1}, State.FAILED),  # nothing is left of it
        (set(), State.DONE),  # nothing failed
    ],
)
def test_a_failed_segment_fails_alone(catalog: Catalog, failed: set[int], state: State) -> None:
    last = []
    for segment in planned(catalog, 2):
        if segment.index in failed:
            last.append(catalog.fail_segment(segment, FAILURE))
        else:
            last.append(catalog.settle_segment(a_result(segment)))
    assert last == [False, True]
    link = link_of(catalog)
    assert (link.state, link.failure) == (state, FAILURE if failed else None)
    assert [view.failure for view in link.segments] == [FAILURE if n in failed else None for n in (0, 1)]


def test_a_rerun_plans_only_what_is_not_done(catalog: Catalog) -> None:
    done, failed = planned(catalog, 2)
    catalog.settle_segment(a_result(done))
    catalog.fail_segment(failed, FAILURE)
    catalog.create_job("job", RECIPE, ["ab.mp4"])
    assert [link.state for link in catalog.unfinished("job")] == [State.QUEUED]
    (again,) = catalog.plan_video("job", 0, a_video(), a_plan(a_video(), 2))
    assert again.index == 1
    assert again.ticket not in ("", failed.ticket)
    view = link_of(catalog).segments[1]
    assert (view.state, view.failure) == (State.QUEUED, None)
    assert catalog.settle_segment(a_result(again)) is True
    assert link_of(catalog).state is State.DONE


def test_the_failure_of_an_older_message_is_no_news(catalog: Catalog) -> None:
    (old,) = planned(catalog, 1)
    (new,) = catalog.plan_video("job", 0, a_video(), a_plan(a_video(), 1))
    assert catalog.fail_segment(old, FAILURE) is False
    assert link_of(catalog).segments[0].state is State.QUEUED
    assert catalog.fail_segment(new, FAILURE) is True
    assert catalog.settle_segment(a_result(old)) is False, "the last one was announced already"
    assert link_of(catalog).state is State.DONE, "a result is a result, whichever message brought it"


def test_the_same_work_is_never_done_twice(catalog: Catalog) -> None:
    for segment in planned(catalog, 2):
        catalog.settle_segment(a_result(segment))
    assert planned(catalog, 2, job_id="second") == []
    assert link_of(catalog, "second").state is State.DONE
    assert catalog.job("second").funnel() == catalog.job("job").funnel()


def test_one_settlement_ends_the_links_of_all_jobs(catalog: Catalog) -> None:
    planned(catalog, 1)
    (segment,) = planned(catalog, 1, job_id="second")
    other = RECIPE.model_copy(update={"device_model": ModelSpec(name="m", version="2")})
    catalog.create_job("other", other, ["ab.mp4"])
    catalog.plan_video("other", 0, a_video(), a_plan(a_video(), 1, "other", other))
    assert catalog.settle_segment(a_result(segment)) is True
    assert link_of(catalog, "job").state is link_of(catalog, "second").state is State.DONE
    assert link_of(catalog, "other").state is State.RUNNING, "another recipe is other work"


def test_a_video_without_segments_is_done(catalog: Catalog) -> None:
    assert planned(catalog, 0) == []
    assert link_of(catalog).state is State.DONE


def test_a_shorter_plan_leaves_no_open_rows(catalog: Catalog) -> None:
    planned(catalog, 3)
    (segment,) = catalog.plan_video("job", 0, a_video(), a_plan(a_video(), 1))
    assert catalog.settle_segment(a_result(segment)) is True
    assert link_of(catalog).state is State.DONE


def test_odd_text_and_numbers_survive(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["ab.mp4"])
    video = a_video(title='a\x00b "quoted" \U0001f938 é')
    (segment,) = catalog.plan_video("job", 0, video, a_plan(video, 1))
    keeper = a_keeper(segment.start_ms, iou=float("nan"))
    drop = Drop(time_ms=segment.start_ms + 1, verdict=Verdict.NO_FEET, value=float("inf"))
    result = SegmentResult(segment=segment, examined=2, keepers=(keeper,), drops=(drop,))
    assert catalog.settle_segment(result) is True
    link = link_of(catalog)
    assert link.video == video
    assert repr(link.segments[0].keepers) == repr(result.keepers)
    assert link.segments[0].drops == result.drops


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    acts=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["settle", "fail"])), max_size=12),
    count=st.integers(1, 3),
)
def test_any_order_and_repetition_ends_in_the_same_books(
    catalog: Catalog, acts: Sequence[tuple[int, str]], count: int
) -> None:
    name = secrets.token_hex(8)
    segments = planned(catalog, count, name, job_id=name)
    acts = [(n, act) for n, act in acts if n < count]
    ended: set[int] = set()
    for n, act in acts:
        last = n not in ended and len(ended) == count - 1
        ended.add(n)
        if act == "settle":
            assert catalog.settle_segment(a_result(segments[n])) is last
        else:
            assert catalog.fail_segment(segments[n], FAILURE) is last
    done = {n for n, act in acts if act == "settle"}
    link = link_of(catalog, name)
    states = [State.DONE if n in done else State.FAILED if n in ended else State.QUEUED for n in range(count)]
    assert [view.state for view in link.segments] == states
    assert link.funnel().check().examined == 2 * len(done)
    if len(ended) < count:
        assert link.state is State.RUNNING
    else:
        assert link.state is (State.DONE if len(done) == count else State.PARTIAL if done else State.FAILED)
