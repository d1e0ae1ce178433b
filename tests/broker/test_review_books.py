"""Reviews: several people at once, the same request twice, and nothing lost."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples_of_books import RECIPE, a_keeper, a_plan, a_result, a_video, planned
from sqlalchemy import Connection, delete

from broker.catalog import Catalog
from broker.catalog_rows import put_frames
from broker.database import Database
from broker.errors import NotFound
from broker.frame_views import Decision, FrameFilter, Review, ReviewDecision, ReviewEvent
from broker.review_books import BadReviewer, ReviewConflict
from broker.review_rows import wait_in_line
from broker.tables import ReviewRow


def frame(time_ms: int = 10) -> str:
    return f"{a_video().id}.{RECIPE.id}.{time_ms}"


def say(number: int, decision: Decision = Decision.KEEP, time_ms: int = 10, note: str = "") -> ReviewDecision:
    return ReviewDecision(id=f"decision-{number:04}", frame_id=frame(time_ms), decision=decision, note=note)


@pytest.fixture
def reviewed(catalog: Catalog) -> Catalog:
    """Books with three frames, at 10, 20,010 and 40,010 ms."""
    for segment in planned(catalog, 3):
        catalog.settle_segment(a_result(segment))
    return catalog


def test_a_decision_is_booked_once_and_never_changed(reviewed: Catalog) -> None:
    reviews = reviewed.reviews
    (first,) = reviews.decide("ann", [say(1, note="whole person")])
    assert (first.reviewer, first.decision, first.note) == ("ann", Decision.KEEP, "whole person")
    assert reviews.decide("ann", [say(1, note="whole person"), say(1, note="whole person")]) == [
        first,
        first,
    ]
    others = (("bob", say(1, note="whole person")), ("ann", say(1)), ("ann", say(1, Decision.REJECT)))
    for reviewer, other in others:
        with pytest.raises(ReviewConflict, match="decision-0001"):
            reviews.decide(reviewer, [say(2), other])
    assert reviews.of(frame()) == (first,), "all or none"
    assert reviewed.frames.get(frame()).decisions == (first,)
    assert reviewed.frames.get(frame()).review is Review.KEPT


def test_a_decision_about_nothing_books_nothing(reviewed: Catalog) -> None:
    with pytest.raises(NotFound, match=r"\.11"):
        reviewed.reviews.decide("ann", [say(1), say(2, time_ms=11)])
    for name in ("", "x" * 101, "a\0"):
        with pytest.raises(BadReviewer):
            reviewed.reviews.decide(name, [say(1)])
    assert reviewed.reviews.of(frame()) == ()
    assert reviewed.frames.count(FrameFilter(reviews=(Review.OPEN,))) == 3


def test_what_is_settled_again_keeps_its_reviews(reviewed: Catalog, url: str) -> None:
    (event,) = reviewed.reviews.decide("ann", [say(1, Decision.REJECT)])
    assert planned(reviewed, 3) == [], "all of it is done"
    assert reviewed.settle_segment(a_result(a_plan(a_video(), 1)[0])) is False
    with_frames = {"segment": a_plan(a_video(), 1)[0], "keepers": [a_keeper(10)], "facts": {}}
    database = Database(url)
    database.write(lambda connection: put_frames(connection, **with_frames))
    database.dispose()
    assert reviewed.frames.get(frame()).review is Review.REJECTED
    assert reviewed.reviews.of(frame()) == (event,)


said = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(Decision)), max_size=8)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=said, size=st.integers(1, 4))
def test_each_reviewers_newest_word_counts(
    reviewed: Catalog, url: str, said: Sequence[tuple[str, Decision]], size: int
) -> None:
    database = Database(url)
    database.write(lambda connection: connection.execute(delete(ReviewRow)))
    database.dispose()
    reviewed.reviews.decide("z", [say(9000), say(9001, Decision.WITHDRAW)])
    for number, (reviewer, decision) in enumerate(said):
        reviewed.reviews.decide(reviewer, [say(number, decision)])
    newest = dict(said)
    words = set(newest.values()) - {Decision.WITHDRAW}
    names = {0: Review.OPEN, 2: Review.DISPUTED}
    expected = names.get(len(words)) or (Review.KEPT if Decision.KEEP in words else Review.REJECTED)
    assert reviewed.frames.get(frame()).review is expected
    assert walk(reviewed, size) == list(reviewed.reviews.of(frame()))
    mine = [event.decision for event in reviewed.reviews.page("a", limit=500).items]
    assert mine == [decision for reviewer, decision in said if reviewer == "a"]


def walk(catalog: Catalog, size: int) -> list[ReviewEvent]:
    found: list[ReviewEvent] = []
    after = 0
    while True:
        page = catalog.reviews.page(after=after, limit=size)
        found += page.items
        if page.next is None:
            assert page.total == len(found)
            return found
        after = int(page.next)


def test_a_number_is_never_given_twice(reviewed: Catalog, url: str) -> None:
    (first,) = reviewed.reviews.decide("ann", [say(1)])
    database = Database(url)
    database.write(lambda connection: connection.execute(delete(ReviewRow)))
    database.dispose()
    (second,) = reviewed.reviews.decide("ann", [say(2)])
    assert second.number > first.number, "who reads on behind the first would miss the second"


def test_several_people_at_once_lose_no_decision(reviewed: Catalog) -> None:
    people, each = 5, 12
    done = Event()

    def decide(person: int) -> None:
        for n in range(each):
            word = Decision.KEEP if person % 2 else Decision.REJECT
            frames = (20_010, 10)[: 1 + n % 2]
            batch = [say(person * 100 + n * 2 + k, word, time_ms) for k, time_ms in enumerate(frames)]
            reviewed.reviews.decide(f"person-{person}", batch)

    def follow() -> list[ReviewEvent]:
        seen: list[ReviewEvent] = []
        while True:
            last = done.is_set()
            seen += reviewed.reviews.page(after=seen[-1].number if seen else 0, limit=500).items
            if last:
                return seen

    with ThreadPoolExecutor(people + 1) as pool:
        follower = pool.submit(follow)
        for future in [pool.submit(decide, person) for person in range(people)]:
            future.result(timeout=200)
        done.set()
        seen = follower.result(timeout=200)
    assert len(seen) == people * (each + each // 2)
    assert seen == walk(reviewed, 500), "who follows the newest number misses none"
    for time_ms in (10, 20_010):
        assert reviewed.frames.get(frame(time_ms)).review is Review.DISPUTED
    assert reviewed.frames.get(frame(40_010)).review is Review.OPEN


def test_removals_wait_for_decisions_and_planning_does_not(catalog: Catalog, url: str) -> None:
    """So no decision is left of a frame that was removed while it was decided about."""
    planned(catalog, 1)
    removed, booked = Event(), Event()

    def remove() -> None:
        catalog.erasing.forget(["sha256:ab"], "ann", "")
        removed.set()

    def plan() -> None:
        planned(catalog, 1, name="cd", job_id="other")
        booked.set()

    threads = [Thread(target=target) for target in (plan, remove)]

    def decide(connection: Connection) -> None:
        wait_in_line(connection)
        threads[0].start()
        assert booked.wait(100 if url.startswith("postgresql") else 0) == url.startswith("postgresql")
        threads[1].start()
        assert not removed.wait(0.3)

    catalog._database.write(decide)
    for thread in threads:
        thread.join(200)
    assert removed.is_set() and booked.is_set()
