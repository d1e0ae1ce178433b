"""Decisions on the review page: by keyboard, of two people at once, and none is lost when the server is."""

import json
from pathlib import Path

import pytest
from api_server import served
from chromium import Watch
from pydantic import SecretStr
from review_page import Opener, Served, events, first_ids, focused, of_video, ready, saved, shows
from typer.testing import CliRunner

from api.cli import cli
from api.exit_codes import ExitCode
from broker.catalog import Catalog
from broker.frame_views import Decision, Review
from broker.settings import load_settings

pytestmark = pytest.mark.system

TOKEN = "a-token-of-some-length"


def test_decide_by_keyboard_and_take_back(opened: Opener, review_catalog: Catalog) -> None:
    query, where = of_video(1, reviews=(Review.OPEN,))
    ids = first_ids(review_catalog, where, 4)
    assert len(ids) == 4
    page = opened(f"{query}&review=open")
    ready(page)
    page.locator(".card").first.focus()
    page.keyboard.press("k")  # who decides is asked once
    page.fill("#name-field", "ana")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card[data-index='0'][data-review=kept]")
    page.keyboard.press("r")
    page.keyboard.press("k")
    page.wait_for_selector(".card[data-index='2'][data-review=kept]")
    # Cards that match the filter no more stay where they are: they are under one's hands.
    page.wait_for_selector(".card[data-index='1'][data-review=rejected]")
    focused(page, 3)
    page.keyboard.press("u")
    page.keyboard.press("Control+z")
    page.wait_for_selector(".card[data-index='1'][data-review=open]")
    saved(page)
    said = [(event.frame_id, event.decision) for event in events(review_catalog, "ana")]
    keep, reject, withdraw = Decision.KEEP, Decision.REJECT, Decision.WITHDRAW
    assert said == [(ids[0], keep), (ids[1], reject), (ids[2], keep), (ids[2], withdraw), (ids[1], withdraw)]

    # The other decision about the first frame, and back to the one before it, in another visit.
    page.goto(page.url.replace("review=open", "review=kept"))
    page.wait_for_selector(f".card[data-id='{ids[0]}']")
    page.locator(f".card[data-id='{ids[0]}']").focus()
    page.keyboard.press("r")
    page.wait_for_selector(f".card[data-id='{ids[0]}'][data-review=rejected]")
    page.keyboard.press("u")
    page.wait_for_selector(f".card[data-id='{ids[0]}'][data-review=kept]")
    saved(page)
    assert [event.decision for event in review_catalog.reviews.of(ids[0])] == [keep, reject, keep]


def test_two_reviewers_at_once(opened: Opener, review_catalog: Catalog) -> None:
    query, where = of_video(2, reviews=(Review.OPEN,))
    ids = first_ids(review_catalog, where, 24)
    assert len(ids) == 24
    pages = {name: opened(f"{query}&review=open", name) for name in ("ben", "cleo")}
    for page in pages.values():
        ready(page)
        page.locator(".card").first.focus()
    for index in range(24):
        pages["ben"].keyboard.press("k")
        pages["cleo"].keyboard.press("k" if index % 4 else "r")
    for name, page in pages.items():
        saved(page)
        assert [event.frame_id for event in events(review_catalog, name)] == ids
    disputed = review_catalog.frames.count(where.model_copy(update={"reviews": (Review.DISPUTED,)}))
    assert disputed == 6
    # Each sees on the cards what the other has decided.
    for name, other in (("ben", "cleo"), ("cleo", "ben")):
        pages[name].keyboard.press("Home")
        pages[name].wait_for_selector(".card[data-index='0'][data-review=disputed][aria-label*=Disputed]")
        pages[name].wait_for_selector(f".card[data-index='0']:has-text('{other}')")


def test_the_server_goes_away_and_comes_back(
    opened: Opener, review_api: Served, review_catalog: Catalog, watch: Watch
) -> None:
    query, where = of_video(3, reviews=(Review.OPEN,))
    ids = first_ids(review_catalog, where, 5)
    watch.expected = ("net::ERR_",)  # refused, or cut in the middle of an answer
    stays, leaves = opened(f"{query}&review=open", "dora"), opened(f"{query}&review=open", "dan")
    for page in (stays, leaves):
        ready(page)
        page.locator(".card").first.focus()
        page.keyboard.press("k")
        page.keyboard.press("k")
        saved(page)
    review_api.stop()
    assert not (review_api.home / "api.url").exists()
    try:
        for page in (stays, leaves):
            for key in "rkr":
                page.keyboard.press(key)
            page.wait_for_function(
                "() => document.querySelector('#save-state').textContent === '3 not saved yet'"
            )
        stays.wait_for_selector("#away:has-text('does not answer')")
        browser_of_dan = leaves.context
        leaves.close()
    finally:
        review_api.start()
    saved(stays)  # by itself
    stays.wait_for_selector("#away", state="hidden")
    again = browser_of_dan.new_page()
    again.goto(review_api.url + query)
    saved(again)
    for name in ("dora", "dan"):
        said = [(event.frame_id, str(event.decision)[0]) for event in events(review_catalog, name)]
        assert said == list(zip(ids, "kkrkr", strict=True))


def test_one_refused_decision_loses_no_other(opened: Opener, review_catalog: Catalog, watch: Watch) -> None:
    _, where = of_video(4, reviews=(Review.OPEN,))
    ids = first_ids(review_catalog, where, 3)
    watch.expected = ("status of 4",)
    page = opened(reviewer="emil")
    ready(page)
    gone = ids[0].rpartition(".")[0] + ".999999998"
    for number, frame in enumerate((ids[0], gone, ids[1], ids[2])):
        decided = {"id": f"refused-{number}", "frame_id": frame, "decision": "keep", "note": ""}
        item = json.dumps(decided | {"reviewer": "emil", "at": number})
        page.evaluate(
            f"localStorage.setItem('hardpose.waiting.{number}.refused-{number}', JSON.stringify({item}))"
        )
    page.reload()
    page.wait_for_selector("#refused:not([hidden])")
    assert gone in page.locator("#refused").text_content()
    page.wait_for_function("() => document.querySelector('#save-state').textContent === 'All saved'")
    assert [event.frame_id for event in events(review_catalog, "emil")] == ids
    page.click("#refused button")
    page.wait_for_selector("#refused", state="hidden")


def test_signing_in(opened: Opener, review_api: Served, review_catalog: Catalog, watch: Watch) -> None:
    query, where = of_video(8, reviews=(Review.OPEN,))
    watch.expected = ("status of 401",)
    tokens = SecretStr(f"iris:review:{TOKEN} jon:read:another-{TOKEN}")
    with served(load_settings(home=review_api.home, api_tokens=tokens)) as url:
        page = opened(query, url=f"{url}/review/")
        page.fill("#token-field", "not-a-token-at-all")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('#signin-fault').textContent !== ''")
        page.fill("#token-field", TOKEN)
        page.keyboard.press("Enter")
        ready(page)
        shows(page, "#who", "iris")
        page.locator(".card").first.focus()
        page.keyboard.press("k")
        saved(page)
        kept = page.evaluate("JSON.stringify(localStorage) + location.href + document.cookie")
        assert TOKEN not in kept
        page.click("#who")
        page.wait_for_selector("#signin[open]")
        page.fill("#token-field", f"another-{TOKEN}")  # who may read, and not review
        page.keyboard.press("Enter")
        ready(page)
        shows(page, "#who", "jon · may only look")
        page.locator(".card").first.focus()
        for key in "kr":
            page.keyboard.press(key)
        page.wait_for_selector(".toast:has-text('You may look, not decide')")
        assert "hardpose.waiting" not in page.evaluate("JSON.stringify(localStorage)")
    assert [event.frame_id for event in events(review_catalog, "iris")] == first_ids(
        review_catalog, where.model_copy(update={"reviews": ()}), 1
    )


def test_a_second_review_finds_the_first(review_api: Served, tmp_path: Path) -> None:
    second = CliRunner().invoke(cli, ["review", "--home", str(review_api.home), "--no-browser"])
    assert second.exit_code == ExitCode.OK
    assert review_api.url in second.output
    nothing = CliRunner().invoke(cli, ["review", "--home", str(tmp_path), "--no-browser"])
    assert nothing.exit_code == ExitCode.USAGE
    assert "--home" in nothing.output
    assert list(tmp_path.iterdir()) == []
