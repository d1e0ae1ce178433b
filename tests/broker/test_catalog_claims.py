"""Claims: one fetch at a time of one video, by one clock."""

import threading
import time
from typing import Any

from redis_servers import until
from sqlalchemy import Connection
from together import run_together

from broker import catalog_claims
from broker.catalog import Catalog
from broker.database import Database

VIDEO = "youtube:abcdefghijk"


def test_a_claim_is_one_owners(catalog: Catalog) -> None:
    assert catalog.claimed(VIDEO) is None
    assert catalog.claim(VIDEO, "one", 60)
    assert not catalog.claim(VIDEO, "two", 60)
    assert catalog.claim("youtube:other", "two", 60), "another video is free"
    assert catalog.claimed(VIDEO) == "one"
    catalog.release(VIDEO, "two")
    assert catalog.claimed(VIDEO) == "one", "only the owner gives it back"
    catalog.release(VIDEO, "one")
    catalog.release(VIDEO, "one")
    assert catalog.claimed(VIDEO) is None
    assert catalog.claim(VIDEO, "two", 60)
    assert catalog.known_video(VIDEO) is None, "a claim is no video"


def test_a_claim_runs_out(catalog: Catalog) -> None:
    assert catalog.claim(VIDEO, "one", 3600)
    assert not catalog.claim(VIDEO, "two", 60)
    assert catalog.claim(VIDEO, "one", 0.2)
    until(lambda: catalog.claimed(VIDEO) is None, "it has run out")
    assert catalog.claim(VIDEO, "two", 3600)
    assert not catalog.claim(VIDEO, "one", 60), "who was late has lost it"
    catalog.release(VIDEO, "one")
    assert catalog.claimed(VIDEO) == "two"


def test_a_claim_is_renewed(catalog: Catalog) -> None:
    assert catalog.claim(VIDEO, "one", 0.2)
    assert catalog.claim(VIDEO, "one", 3600)
    time.sleep(0.3)
    assert catalog.claimed(VIDEO) == "one"
    assert catalog.claim(VIDEO, "one", 0), "and cut short"
    assert catalog.claimed(VIDEO) is None


def test_a_claimant_that_had_to_wait_goes_by_the_time_after_it(catalog: Catalog, url: str) -> None:
    claimed = threading.Event()

    def slowly(connection: Connection) -> None:
        catalog_claims.claim(connection, VIDEO, "one", 0.2)
        claimed.set()
        time.sleep(0.5)

    other = threading.Thread(target=Database(url).write, args=(slowly,))
    other.start()
    assert claimed.wait(100)
    assert catalog.claim(VIDEO, "two", 60), "it has run out while the other transaction was open"
    other.join()


def test_an_owner_may_have_a_long_name(catalog: Catalog) -> None:
    owner = "x" * 500
    assert catalog.claim(VIDEO, owner, 60)
    assert catalog.claimed(VIDEO) == owner


def claim_all(catalog: Catalog, n: int, start: Any, answers: Any) -> None:
    try:
        start.wait()
        answers.put([number for number in range(20) if catalog.claim(f"site:{number}", f"{n}", 60)])
    except BaseException as error:
        answers.put(repr(error))
        raise


def test_of_eight_claimants_exactly_one_gets_each_video(catalog: Catalog) -> None:
    for number in range(10):  # ten were claimed before, by workers that died; ten never
        catalog.claim(f"site:{number}", "dead", 0)
    found = run_together(claim_all, 8, catalog)
    assert sorted(number for answer in found for number in answer) == list(range(20))


def pass_on(catalog: Catalog, n: int, start: Any, answers: Any) -> None:
    """Holds the claim again and again, and looks whether anyone else does."""
    try:
        start.wait()
        held = 0
        while held < 10:
            if not catalog.claim(VIDEO, f"{n}", 60):
                continue
            seen = {catalog.claimed(VIDEO) for _ in range(3)}
            assert seen == {f"{n}"}, seen
            catalog.release(VIDEO, f"{n}")
            held += 1
        answers.put(held)
    except BaseException as error:
        answers.put(repr(error))
        raise


def test_a_claim_that_is_held_is_never_anothers(catalog: Catalog) -> None:
    assert run_together(pass_on, 4, catalog) == [10] * 4
    assert catalog.claimed(VIDEO) is None


def test_a_silent_claim_falls_to_its_own_family_first(catalog: Catalog) -> None:
    lease, silent = 6000, 1500
    assert catalog.claim(VIDEO, "job:1:a", lease)
    assert not catalog.claim(VIDEO, "job:1:b", lease, "job:1:", silent), "it was renewed just now"
    assert catalog.claim(VIDEO, "job:1:a", lease - silent - 0.1, "job:1:", silent)  # as it stands after that
    assert not catalog.claim(VIDEO, "job:10:b", lease, "job:10:", silent), "another link waits for the lease"
    assert not catalog.claim(VIDEO, "job:1:b", lease), "and so does who names no family"
    assert catalog.claim(VIDEO, "job:1:b", lease, "job:1:", silent)
    assert not catalog.claim(VIDEO, "job:1:a", lease, "job:1:", silent), "who was late has lost it"
