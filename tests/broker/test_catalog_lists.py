"""Jobs with rules, links that are lists, and the order of one link."""

import secrets
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples_of_books import FAILURE, RECIPE, a_plan, a_result, a_video, link_of, planned
from together import run_together

from broker.catalog import Catalog, JobConflict
from broker.errors import NotFound
from broker.intake import Intake
from broker.views import LinkOrder, State

RULES = Intake(since=date(2024, 2, 29), licences="cc", denied_channels=("@me", "a\x00b é"), limit=7)


def job_with_list(catalog: Catalog, *links: str) -> None:
    """A job of one link that has become a list of ``links``."""
    catalog.create_job("job", RECIPE, ["list"])
    catalog.start_link("job", 0)
    catalog.list_link("job", 0, links, "A list", True)


def texts(catalog: Catalog, job_id: str = "job") -> list[str]:
    links = catalog.job_light(job_id).links
    assert [link.position for link in links] == list(range(len(links)))
    return [link.link for link in links]


# --- rules -----------------------------------------------------------------------------------


def test_a_job_keeps_its_rules(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["a"], RULES)
    assert catalog.job("job").intake == catalog.jobs()[0].intake == RULES
    catalog.create_job("job", RECIPE, ["b"], RULES)
    with pytest.raises(JobConflict, match=r"since, licences.* differ"):
        catalog.create_job("job", RECIPE, ["c"])
    with pytest.raises(JobConflict, match="rules: limit differ"):
        catalog.create_job("job", RECIPE, ["c"], RULES.model_copy(update={"limit": 8}))
    assert texts(catalog) == ["a", "b"], "a conflict writes nothing"


def test_a_job_without_rules_has_the_defaults(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["a"])
    assert catalog.job("job").intake == Intake()
    catalog.create_job("job", RECIPE, ["a"], Intake())


# --- the order of one link -------------------------------------------------------------------


def test_the_order_of_a_link_has_all_that_its_download_needs(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["a", "list"], RULES)
    catalog.list_link("job", 1, ["x", "y"], "", False)
    catalog.plan_video("job", 2, a_video(), a_plan(a_video(), 1))
    same = {"job_id": "job", "recipe": RECIPE, "intake": RULES}
    assert [catalog.link_order("job", n) for n in range(4)] == [
        LinkOrder(position=0, link="a", state=State.QUEUED, **same),
        LinkOrder(position=1, link="list", state=State.DONE, listed=2, **same),
        LinkOrder(position=2, link="x", state=State.RUNNING, video_id="sha256:ab", parent=1, **same),
        LinkOrder(position=3, link="y", state=State.QUEUED, parent=1, **same),
    ]


def test_only_a_link_that_is_worked_on_is_put_back(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["a", "b", "c"])
    catalog.start_link("job", 0)
    catalog.fail_link("job", 1, FAILURE)
    for position in range(3):
        catalog.put_back("job", position)
    states = [(link.state, link.failure) for link in catalog.job("job").links]
    assert states == [(State.QUEUED, None), (State.FAILED, FAILURE), (State.QUEUED, None)]
    catalog.start_link("job", 0)
    assert link_of(catalog).state is State.RUNNING


def test_what_is_not_there_is_named(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["a"])
    for ask in (
        lambda: catalog.link_order("nope", 0),
        lambda: catalog.link_order("job", 1),
        lambda: catalog.put_back("job", 1),
        lambda: catalog.list_link("job", 1, ["x"], "", True),
        lambda: catalog.retry(job_id="nope"),
        lambda: catalog.known_reasons("nope"),
    ):
        with pytest.raises(NotFound):
            ask()
    assert texts(catalog) == ["a"]


# --- lists -----------------------------------------------------------------------------------


def test_a_list_becomes_its_links(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["list", "b"])
    catalog.start_link("job", 0)
    brought = catalog.list_link("job", 0, ["a", "b", "c", "a"], "T\x00itle \U0001f938", False)
    assert [(link.position, link.link, link.parent, link.state) for link in brought] == [
        (2, "a", 0, State.QUEUED),
        (3, "c", 0, State.QUEUED),
    ]
    job = catalog.job("job")
    own = job.links[0]
    assert (own.state, own.listed, own.list_title, own.list_complete) == (
        State.DONE,
        3,
        "Title \U0001f938",
        False,
    )
    assert [link.link for link in job.videos] == ["b", "a", "c"]
    assert [link.link for link in catalog.unfinished("job")] == ["b", "a", "c"]
    assert job.videos[0].list_complete
    assert not job.final


def test_a_list_is_booked_once(catalog: Catalog) -> None:
    job_with_list(catalog, "a", "b")
    catalog.fail_link("job", 1, FAILURE)
    before = catalog.job("job")
    again = catalog.list_link("job", 0, ["a", "b", "new"], "Another title", False)
    assert [link.link for link in again] == ["b"], "what has ended is not sent again"
    assert catalog.open_children("job", 0) == again
    assert catalog.job("job") == before
    catalog.fail_link("job", 0, FAILURE)
    assert catalog.job("job") == before, "a list that was read stays done"


def test_a_job_is_final_with_the_links_of_its_lists(catalog: Catalog) -> None:
    job_with_list(catalog, "a")
    assert not catalog.job_light("job").final
    (segment,) = catalog.plan_video("job", 1, a_video(), a_plan(a_video(), 1))
    catalog.settle_segment(a_result(segment))
    job = catalog.job("job")
    assert job.final
    assert job.funnel().check().examined == 2


def test_an_empty_list_is_a_list(catalog: Catalog) -> None:
    job_with_list(catalog)
    job = catalog.job("job")
    assert (job.final, job.videos, job.links[0].listed) == (True, (), 0)


def test_lists_that_name_each_other_end(catalog: Catalog) -> None:
    job_with_list(catalog, "list", "other")
    assert texts(catalog) == ["list", "other"]
    assert catalog.list_link("job", 1, ["list", "other", "a"], "", True)[0].link == "a"
    assert texts(catalog) == ["list", "other", "a"]


def test_running_a_job_again_adds_nothing(catalog: Catalog) -> None:
    job_with_list(catalog, "a", "b")
    before = catalog.job("job")
    catalog.create_job("job", RECIPE, ["list"])
    assert catalog.job("job") == before
    catalog.create_job("job", RECIPE, ["list", "b", "c"])
    assert texts(catalog) == ["list", "a", "b", "c"], "a link that the list has brought is there"
    assert [link.parent for link in catalog.job("job").links] == [None, 0, 0, None]


def test_a_rerun_queues_the_failed_links_of_a_list(catalog: Catalog) -> None:
    job_with_list(catalog, "a", "b")
    catalog.fail_link("job", 2, FAILURE)
    catalog.create_job("job", RECIPE, ["list"])
    assert [link.state for link in catalog.job("job").links] == [State.DONE, State.QUEUED, State.QUEUED]


def test_a_list_that_could_not_be_read_is_read_by_the_next_try(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["list"])
    catalog.fail_link("job", 0, FAILURE)
    assert catalog.retry() == {"job": [0]}
    catalog.list_link("job", 0, ["a"], "", True)
    assert (link_of(catalog).state, link_of(catalog).failure) == (State.DONE, None)


def test_a_list_and_a_video_are_never_one(catalog: Catalog) -> None:
    """A link may lead to a video today and to a list tomorrow."""
    (segment,) = planned(catalog, 1)
    catalog.fail_segment(segment, FAILURE)
    catalog.create_job("job", RECIPE, ["ab.mp4"])
    catalog.list_link("job", 0, ["a"], "", True)
    own = link_of(catalog)
    assert (own.video, own.segments, own.listed) == (None, (), 1)


def list_and_create(catalog: Catalog, n: int, start: Any, answers: Any) -> None:
    try:
        start.wait()
        for number in range(4):
            catalog.list_link("job", n % 2, [f"{n % 2}-{i}" for i in range(10)], "", True)
            catalog.create_job("job", RECIPE, ["list 0", "list 1", f"{number}", "0-3"])
        answers.put("done")
    except BaseException as error:
        answers.put(repr(error))
        raise


def test_processes_that_list_and_create_at_once_number_each_link_once(catalog: Catalog) -> None:
    catalog.create_job("job", RECIPE, ["list 0", "list 1"])
    assert run_together(list_and_create, 6, catalog) == ["done"] * 6
    expected = {"list 0", "list 1", *"0123"} | {f"{n}-{i}" for n in (0, 1) for i in range(10)}
    found = texts(catalog)
    assert set(found) == expected
    assert len(found) == len(expected)


LINKS = st.lists(st.sampled_from("abcdef"), max_size=5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    acts=st.lists(st.tuples(st.sampled_from(["create", "list"]), st.integers(0, 5), LINKS), max_size=6),
)
def test_whatever_is_given_and_listed_no_link_is_lost_or_doubled(
    catalog: Catalog, acts: list[tuple[str, int, list[str]]]
) -> None:
    name = secrets.token_hex(8)
    catalog.create_job(name, RECIPE, ["a"])
    most = {"a": 1}
    for act, position, links in acts:
        before = texts(catalog, name)
        if act == "create":
            catalog.create_job(name, RECIPE, links)
            most |= {link: max(most.get(link, 0), links.count(link)) for link in links}
        elif position < len(before):
            if catalog.link_order(name, position).listed is None:
                most |= {link: max(most.get(link, 0), 1) for link in links}
            catalog.list_link(name, position, links, "", True)
        after = texts(catalog, name)
        assert after[: len(before)] == before, "positions are for ever"
        assert {link: after.count(link) for link in after} == most
