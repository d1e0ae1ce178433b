"""Lists of jobs, links, videos and segments: the sums that are kept are the sums that there are."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples_of_books import FAILURE, RECIPE, a_plan, a_result, a_video, planned

from broker.catalog import Catalog
from broker.errors import NotFound
from broker.frame_views import BadCursor
from broker.messages import Funnel, Segment
from broker.recipe import ModelSpec, Stage
from broker.views import JobView, LinkView, State
from broker.work_views import Priority, SegmentCounts

OTHER = RECIPE.model_copy(update={"device_model": ModelSpec(name="m", version="2")})
acts = st.one_of(
    st.tuples(st.sampled_from(("settle", "fail", "stale")), st.integers(0, 3)),
    st.tuples(st.just("plan"), st.integers(1, 4)),
)


def act(catalog: Catalog, what: str, number: int, sent: dict[int, Segment]) -> None:
    if what == "plan":
        for segment in catalog.plan_video("job", 0, a_video(), a_plan(a_video(), number)):
            sent[segment.index] = segment
    elif number in sent:
        segment = sent[number]
        old = segment.model_copy(update={"ticket": "old"})
        try:
            if what == "settle":
                catalog.settle_segment(a_result(segment))
            else:
                catalog.fail_segment(old if what == "stale" else segment, FAILURE)
        except NotFound:
            del sent[number]  # a later, shorter plan has no such segment


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.lists(acts, min_size=1, max_size=14))
def test_what_an_analysis_keeps_is_the_sum_of_its_segments(
    catalog: Catalog, story: Sequence[tuple[str, int]]
) -> None:
    """Examples go on from each other's books, so the stories are longer than they look."""
    sent: dict[int, Segment] = {}
    catalog.create_job("job", RECIPE, ["ab.mp4"])
    for what, number in [("plan", 2), *story]:
        act(catalog, what, number, sent)
        link = catalog.job_light("job").links[0]
        summary = catalog.work.summary("job")
        assert summary.segments == counts(link)
        assert summary.funnel == link.funnel()
        seconds = sum(segment.seconds.get(Stage.POSE, 0.0) for segment in link.segments)
        assert summary.seconds.get(Stage.POSE, 0.0) == pytest.approx(seconds)
        assert summary.updated_at >= max(row.updated_at for row in catalog.videos.segments().items)


def counts(*links: LinkView) -> SegmentCounts:
    states = [segment.state for link in links for segment in link.segments]
    return SegmentCounts(total=len(states), done=states.count(State.DONE), failed=states.count(State.FAILED))


@pytest.fixture
def full(catalog: Catalog) -> Catalog:
    """Five jobs: done (one video, twice), failed, partial with a list, queued, and one of no links."""
    for segment in planned(catalog, 3, "ab", "done"):
        catalog.settle_segment(a_result(segment))
    catalog.create_job("done", RECIPE, ["ab.mp4", "again.mp4"])
    catalog.plan_video("done", 1, a_video("ab"), a_plan(a_video("ab"), 3, "done"))
    catalog.create_job("failed", OTHER, ["x"])
    catalog.start_link("failed", 0)
    catalog.fail_link("failed", 0, FAILURE)
    catalog.create_job("partial", OTHER, ["list", "y"])
    catalog.list_link("partial", 0, ["child"], "A list", True)
    catalog.fail_link("partial", 1, FAILURE)
    plan = a_plan(a_video("cd"), 2, "partial", OTHER)
    first, second = catalog.plan_video("partial", 2, a_video("cd"), plan)
    catalog.settle_segment(a_result(first))
    catalog.fail_segment(second, FAILURE)
    catalog.plan_video("partial", 2, a_video("cd"), plan[:1])
    catalog.create_job("queued", RECIPE, ["z"])
    catalog.create_job("empty", RECIPE, [])
    return catalog


def test_a_job_in_a_list_is_what_the_whole_job_says(full: Catalog) -> None:
    page = full.work.page()
    assert page.total == 5
    assert {job.id for job in page.items} == {"empty", "queued", "partial", "failed", "done"}
    # By id where two were made in one and the same millisecond.
    newest_first = sorted(page.items, key=lambda job: (job.created_at, job.id), reverse=True)
    assert list(page.items) == newest_first
    assert page.items[-1].id == "done"
    states = {job.id: job.state for job in page.items}
    assert states == {
        "done": State.DONE,
        "failed": State.FAILED,
        "partial": State.PARTIAL,
        "queued": State.QUEUED,
        "empty": State.DONE,
    }
    for job in page.items:
        whole = full.job_light(job.id)
        assert (job.recipe_id, job.created_at) == (whole.recipe.id, whole.created_at)
        assert job.funnel == whole.funnel()
        assert job.segments == counts(*distinct(whole))
        assert sum(job.links.values()) == len(whole.videos)
        assert job.lists == len(whole.links) - len(whole.videos)
        assert (job.priority, job.cancelled_at) == (Priority.NORMAL, None)
        assert full.work.summary(job.id) == job
    for state in State:
        listed = full.work.page(states=[state])
        assert {job.id for job in listed.items} == {name for name, known in states.items() if known is state}
        assert listed.total == len(listed.items)


def distinct(job: JobView) -> list[LinkView]:
    return list({link.video.id: link for link in job.links if link.video}.values())


def test_a_job_goes_from_queued_to_running_to_done(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["ab.mp4"])
    seen = [catalog.work.summary("job")]
    segments = planned(catalog, 2)
    seen.append(catalog.work.summary("job"))
    for segment in segments:
        catalog.settle_segment(a_result(segment))
        seen.append(catalog.work.summary("job"))
    assert [job.state for job in seen] == [State.QUEUED, State.RUNNING, State.RUNNING, State.DONE]
    assert [job.segments.done for job in seen] == [0, 0, 1, 2]
    assert sorted(seen, key=lambda job: job.updated_at) == seen


def test_links_with_their_titles_and_counts(full: Catalog) -> None:
    links = full.work.links("partial").items
    assert [(link.link, link.title, link.state) for link in links] == [
        ("list", "A list", State.DONE),
        ("y", "", State.FAILED),
        ("child", "Clip", State.DONE),
    ]
    assert links[1].failure == FAILURE
    assert (links[2].parent, links[2].segments) == (0, SegmentCounts(total=1, done=1))
    assert links[2].funnel.examined == 2
    assert [link.link for link in full.work.links("partial", states=[State.FAILED]).items] == ["y"]
    with pytest.raises(NotFound):
        full.work.links("none")
    with pytest.raises(NotFound):
        full.work.summary("no\0ne")


def test_videos_and_segments(full: Catalog) -> None:
    full.create_job("too", OTHER, ["ab.mp4"])
    full.plan_video("too", 0, a_video("ab"), a_plan(a_video("ab"), 1, "too", OTHER))
    video = full.videos.get(a_video("ab").id)
    assert (video.video, video.jobs) == (full.known_video(video.video.id), ("done", "too"))
    assert video.segments == SegmentCounts(total=4, done=3)
    assert video.funnel == full.job_light("done").funnel() != Funnel()
    assert [v.video.id for v in full.videos.page().items] == ["sha256:ab", "sha256:cd"]
    assert [v.video.id for v in full.videos.page(job="partial").items] == ["sha256:cd"]
    assert full.videos.page(job="none").items == ()
    segments = full.videos.segments
    assert segments().total == 5
    assert [s.index for s in segments(job="done").items] == [0, 1, 2]
    assert segments(video_id="sha256:ab", states=[State.QUEUED]).items[0].recipe_id == OTHER.id
    assert segments(job="done", states=[State.FAILED]).total == 0
    first = segments(job="done", limit=1).items[0]
    assert (first.start_ms, first.end_ms, first.state) == (0, 20_000, State.DONE)
    assert (first.funnel.examined, first.seconds) == (2, {Stage.POSE: 1.5})
    for nowhere in ("none", "no\0ne"):
        with pytest.raises(NotFound):
            full.videos.get(nowhere)


def test_pages_add_up_to_the_whole(full: Catalog) -> None:
    lists: dict[str, Any] = {
        "jobs": full.work.page,
        "links": lambda limit, cursor: full.work.links("partial", limit, cursor),
        "videos": full.videos.page,
        "segments": lambda limit, cursor: full.videos.segments(limit=limit, cursor=cursor),
    }
    cursors = {}
    for name, ask in lists.items():
        whole = ask(500, None)
        assert (whole.next, whole.total) == (None, len(whole.items))
        assert whole.total >= 2
        found, cursor = [], None
        while len(found) < whole.total:
            page = ask(1, cursor)
            found, cursor = [*found, *page.items], page.next
            cursors[name] = cursor or cursors[name]
        assert cursor is None
        assert tuple(found) == whole.items
    for name, ask in lists.items():
        for other in {*cursors.values(), "nonsense", "é", "bnVsbA"} - {cursors[name]}:
            with pytest.raises(BadCursor):
                ask(1, other)
        for limit in (0, 501):
            with pytest.raises(ValueError, match="1 to 500"):
                ask(limit, None)
