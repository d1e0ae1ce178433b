"""What has failed and is tried again, by reason."""

from typing import Any

import pytest
from samples_of_books import FAILURE, RECIPE, a_plan, a_result, a_video, link_of, planned
from together import run_together

from broker.catalog import Catalog
from broker.errors import Action
from broker.messages import Failure
from broker.recipe import Stage
from broker.views import State

BUSY = Failure(
    code="server_busy", cause="503", action=Action.TRANSIENT, tool="yt-dlp", tool_version="2026.10.26"
)
BOT = Failure(code="bot_check", cause="sign in", action=Action.SESSION_POISONED, stage=Stage.DOWNLOAD)


def three_failures(catalog: Catalog) -> None:
    """Job ``one``: busy, bot check, and a link that waits; job ``two``: busy, and one that is done."""
    catalog.create_job("one", RECIPE, ["a", "b", "c"])
    catalog.fail_link("one", 0, BUSY)
    catalog.fail_link("one", 1, BOT)
    catalog.create_job("two", RECIPE, ["d", "e"])
    catalog.fail_link("two", 0, BUSY)
    catalog.plan_video("two", 1, a_video(), [])


@pytest.mark.parametrize(
    ("reasons", "job", "found"),
    [
        ((), None, {"one": [0, 1], "two": [0]}),  # whatever has failed
        (("server_busy",), None, {"one": [0], "two": [0]}),  # by code, in all jobs
        (("server_busy",), "one", {"one": [0]}),  # in one
        (("session_poisoned",), None, {"one": [1]}),  # by action
        (("transient", "bot_check"), "one", {"one": [0, 1]}),  # either will do
        (("server_busyy",), None, {}),  # nothing failed for it
        (("bot_check",), "two", {}),  # not here
    ],
)
def test_links_are_queued_again_by_reason(
    catalog: Catalog, reasons: tuple[str, ...], job: str | None, found: dict[str, list[int]]
) -> None:
    three_failures(catalog)
    states = {(j.id, link.position): link.state for j in catalog.jobs() for link in j.links}
    assert catalog.retry(reasons, job) == found
    for view in catalog.jobs():
        for link in view.links:
            again = link.position in found.get(view.id, ())
            assert link.state is (State.QUEUED if again else states[view.id, link.position])
            assert (link.failure is None) is (again or states[view.id, link.position] is not State.FAILED)
    assert catalog.retry(reasons, job) == {}, "what waits is not queued twice"


PRIVATE = Failure(code="video_private", cause="private", tool="yt-dlp", tool_version="2026.10.26")
MISSING = Failure(code="file_missing", cause="no such file", tool="local", tool_version="0.1.0")


def test_the_same_job_again_does_not_ask_for_a_sites_last_word(catalog: Catalog) -> None:
    catalog.create_job("one", RECIPE, ["a", "b", "c", "d"])
    for position, failure in enumerate((PRIVATE, MISSING, BUSY)):
        catalog.fail_link("one", position, failure)
    catalog.create_job("one", RECIPE, ["a", "b", "c", "d"])
    states = [link.state for link in catalog.job_light("one").links]
    assert states == [State.FAILED, State.QUEUED, State.QUEUED, State.QUEUED]
    assert catalog.retry(["video_private"]) == {"one": [0]}  # asked for by name, it is


def test_the_reasons_that_there_are(catalog: Catalog) -> None:
    assert catalog.known_reasons() == {}
    three_failures(catalog)
    assert catalog.known_reasons() == {
        "bot_check": 1,
        "server_busy": 2,
        "session_poisoned": 1,
        "transient": 2,
    }
    assert catalog.known_reasons("two") == {"server_busy": 1, "transient": 1}


@pytest.mark.parametrize("reason", ["bot_check", "server_busy", "session_poisoned", "transient"])
def test_a_known_reason_counts_what_it_would_queue(catalog: Catalog, reason: str) -> None:
    three_failures(catalog)
    count = catalog.known_reasons()[reason]
    assert sum(len(positions) for positions in catalog.retry([reason]).values()) == count
    assert reason not in catalog.known_reasons()


def test_a_failed_segment_is_a_reason(catalog: Catalog) -> None:
    done, first, second = planned(catalog, 3)
    catalog.settle_segment(a_result(done))
    catalog.fail_segment(first, FAILURE)
    catalog.fail_segment(second, BUSY)
    assert link_of(catalog).state is State.PARTIAL
    expected = {"permanent": 1, "poison_segment": 1, "server_busy": 1, "transient": 1}
    assert catalog.known_reasons() == expected, "one link, whatever number of its segments"
    assert catalog.retry(["server_busy"]) == {"job": [0]}
    again = catalog.plan_video("job", 0, a_video(), a_plan(a_video(), 3))
    assert [segment.index for segment in again] == [1, 2], "all that failed, none that is done"
    for segment in again:
        catalog.settle_segment(a_result(segment))
    assert link_of(catalog).state is State.DONE
    assert catalog.retry() == {}


def test_a_link_that_failed_with_all_its_segments(catalog: Catalog) -> None:
    for segment, failure in zip(planned(catalog, 2), (FAILURE, BUSY), strict=True):
        catalog.fail_segment(segment, failure)
    assert link_of(catalog).state is State.FAILED
    assert catalog.retry(["transient"]) == {"job": [0]}


def test_segments_of_another_recipe_are_no_reason(catalog: Catalog) -> None:
    other = RECIPE.model_copy(update={"rule": RECIPE.rule.model_copy(update={"min_confidence": 0.9})})
    assert other.id != RECIPE.id
    catalog.create_job("other", other, ["ab.mp4"])
    (segment,) = catalog.plan_video("other", 0, a_video(), a_plan(a_video(), 1, "other", other))
    catalog.fail_segment(segment, BUSY)
    (mine,) = planned(catalog, 1)
    catalog.fail_segment(mine, FAILURE)
    assert catalog.retry(["server_busy"]) == {"other": [0]}


def test_the_tool_of_a_failure_is_read_back(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["a"])
    catalog.fail_link("job", 0, BUSY)
    assert link_of(catalog).failure == BUSY


def retry_all(catalog: Catalog, n: int, start: Any, answers: Any) -> None:
    try:
        start.wait()
        answers.put(catalog.retry())
    except BaseException as error:
        answers.put(repr(error))
        raise


def test_of_four_who_retry_at_once_each_link_is_one_ones(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, [str(n) for n in range(30)])
    for n in range(30):
        catalog.fail_link("job", n, BUSY)
    found = run_together(retry_all, 4, catalog)
    assert sorted(n for answer in found for n in answer.get("job", ())) == list(range(30))
