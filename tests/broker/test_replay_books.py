"""The books of replays, on SQLite and PostgreSQL."""

import pytest
from samples_of_books import FAILURE, RECIPE, SPEC, a_plan, a_result, a_video

from broker.catalog import Catalog
from broker.catalog_jobs import JobConflict
from broker.errors import NotFound
from broker.priority import Priority
from broker.recipe import Comparison, Recipe, Route
from broker.replay_books import Place, ReplayBase
from broker.views import State

STRICT = RECIPE.model_copy(update={"comparison": Comparison(iou_threshold=0.7)})
NEW = RECIPE.model_copy(update={"device_model": SPEC.model_copy(update={"version": "2"})})


def examined(catalog: Catalog, job_id: str, recipe: Recipe, **links: str) -> None:
    """A job of two segments a video, under ``recipe``; of each the second failed."""
    catalog.create_job(job_id, recipe, list(links.values()))
    for position, name in enumerate(links):
        video = a_video(name)
        for segment in catalog.plan_video(job_id, position, video, a_plan(video, 2, job_id, recipe)):
            if segment.index:
                catalog.fail_segment(segment, FAILURE)
            else:
                catalog.settle_segment(a_result(segment))


def test_bases_are_all_analyses_by_recipe_each_video_with_its_first_link(catalog: Catalog) -> None:
    examined(catalog, "one", RECIPE, ab="first.mp4", cd="other.mp4")
    examined(catalog, "two", STRICT, ab="again.mp4")
    examined(catalog, "three", RECIPE, ab="third.mp4")
    catalog.create_job("unread", NEW, ["never.mp4"])
    both = ReplayBase(recipe=RECIPE, links={"sha256:ab": "first.mp4", "sha256:cd": "other.mp4"})
    strict = ReplayBase(recipe=STRICT, links={"sha256:ab": "again.mp4"})
    assert catalog.replays.bases() == [both, strict]
    assert catalog.replays.bases([STRICT.id]) == [strict]
    assert catalog.replays.bases(["two"]) == [strict]
    third = ReplayBase(recipe=RECIPE, links={"sha256:ab": "third.mp4"})
    assert catalog.replays.bases(["three"]) == [third]
    assert catalog.replays.bases(["three", RECIPE.id, STRICT.id]) == [both, strict]
    assert catalog.replays.bases(["unread"]) == []
    for nothing in ("nowhere", "\0", "\ud800"):
        with pytest.raises(NotFound):
            catalog.replays.bases([nothing])


def test_a_replay_knows_its_videos_from_the_start_and_grows_when_there_are_more(catalog: Catalog) -> None:
    examined(catalog, "one", RECIPE, ab="same.mp4", cd="same.mp4", ef="other.mp4")
    links = {"sha256:ab": "same.mp4", "sha256:cd": "same.mp4"}
    places = catalog.replays.book("replay", NEW, links, Priority.LOW)
    assert sorted(place.position for place in places.values()) == [0, 1]
    assert {place.state for place in places.values()} == {State.QUEUED}
    assert catalog.replays.book("replay", NEW, links, Priority.LOW) == places
    more = catalog.replays.book("replay", NEW, links | {"sha256:ef": "other.mp4"}, Priority.HIGH)
    assert more == places | {"sha256:ef": Place(position=2, state=State.QUEUED)}
    job = catalog.job_light("replay")
    assert [link.link for link in job.links] == ["same.mp4", "same.mp4", "other.mp4"]
    videos = {link.position: link.video.id for link in job.links if link.video}
    assert videos == {place.position: video for video, place in more.items()}
    assert (job.recipe, job.priority) == (NEW, Priority.HIGH)
    with pytest.raises(JobConflict):
        catalog.replays.book("replay", STRICT, links, Priority.LOW)


def test_a_replay_is_planned_as_any_video_and_ends_with_its_segments(catalog: Catalog) -> None:
    examined(catalog, "one", RECIPE, ab="a.mp4")
    place = catalog.replays.book("replay", NEW, {"sha256:ab": "a.mp4"}, Priority.LOW)["sha256:ab"]
    plan = a_plan(a_video("ab"), 2, "replay", NEW)
    first, second = catalog.plan_video("replay", place.position, a_video("ab"), plan)
    catalog.settle_segment(a_result(first))
    assert catalog.fail_segment(second, FAILURE)
    assert catalog.job_light("replay").links[0].state == State.PARTIAL
    again = catalog.replays.book("replay", NEW, {"sha256:ab": "a.mp4"}, Priority.LOW)["sha256:ab"]
    assert again.state == State.QUEUED, "what was left out is tried again"
    (left,) = catalog.plan_video("replay", place.position, a_video("ab"), plan)
    assert left.index == 1


def test_the_furthest_that_a_segment_came_to_under_earlier_recipes(catalog: Catalog) -> None:
    examined(catalog, "one", RECIPE, ab="a.mp4")
    catalog.create_job("two", STRICT, ["a.mp4"])
    catalog.plan_video("two", 0, a_video("ab"), a_plan(a_video("ab"), 3, "two", STRICT))
    found = catalog.replays.earlier("sha256:ab", [RECIPE.id, STRICT.id])
    assert {span: each.state for span, each in found.items()} == {
        (0, 20_000): State.DONE,
        (20_000, 40_000): State.FAILED,
        (40_000, 60_000): State.QUEUED,
    }
    assert found[20_000, 40_000].failure == FAILURE
    assert catalog.replays.earlier("sha256:ab", [NEW.id]) == {}


def test_a_device_that_has_moved_is_found_where_it_is_now(catalog: Catalog) -> None:
    def at(queue: str) -> Recipe:
        route = Route(device="me", firmware="2", queue=queue)
        return NEW.model_copy(update={"device_model": NEW.device_model.model_copy(update={"route": route})})

    assert at("me").id == at("me.me").id
    for number, queue in enumerate(("me", "me.me", "me.me")):
        catalog.create_job(f"job{number}", at(queue), ["a.mp4"])
        found = catalog.link_order(f"job{number}", 0).recipe.device_model.route
        assert found is not None
        assert found.queue == queue
