"""Transfers and waiting in every view of progress: silence is explained."""

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console
from samples_of_books import RECIPE

from api import progress
from api.printable import megabytes, printable, span
from api.progress import Bars, JsonLines, Lines
from api.run import polls
from api.snapshot import Eta, Snapshot
from api.waiting import Explainer, Fetching, Wait, fetching_text, transfers_of, waits_of
from broker.egress import Egress
from broker.parking import ParkedLink, Parking
from broker.settings import Settings
from broker.views import JobView, LinkView, State
from tasks.runtime import Runtime

FETCHING = (
    Fetching(1, "yt-dlp", 25_100_000, 60_000_000, 1_500_000.0),
    Fetching(4, "yt-dlp", 20_100_000, 60_300_000, 600_000.0),
)
RATE = Wait("rate", 42, 8.0)
BREAKER = Wait("breaker", 7, 3480.0, "Sign in to confirm")
STILL = Snapshot(videos=50, videos_done=1, videos_failed=0, videos_waiting=49, segments=0)


@pytest.mark.parametrize(
    ("transfers", "text"),
    [
        (FETCHING, "fetching 2: 45.2 of 120.3 MB, 2.1 MB/s"),  # sizes are known
        ((replace(FETCHING[0], total=None),), "fetching 1: 25.1 MB, 1.5 MB/s"),  # no size is known
        ((*FETCHING, replace(FETCHING[0], total=None)), "fetching 3: 70.3 MB, 3.6 MB/s"),  # one is not
    ],
)
def test_transfers_in_a_line(transfers: tuple[Fetching, ...], text: str) -> None:
    assert fetching_text(transfers) == text


@pytest.mark.parametrize(
    ("wait", "text"),
    [
        (RATE, "42 links wait for the rate limit, next in 8 s"),
        (BREAKER, "7 links wait for the breaker, open for 58 min: Sign in to confirm"),
        (Wait("claimed", 1, 5), "1 link waits for another worker that fetches the same video, next in 5 s"),
        (Wait("new", 2, 9000), "2 links wait (new), next in 2.5 h"),  # of a later release
    ],
)
def test_waiting_in_a_line(wait: Wait, text: str) -> None:
    assert str(wait) == text


def test_lines_say_what_is_under_way_and_what_waits() -> None:
    out = io.StringIO()
    with Lines(out, every=0) as lines:
        lines.show(replace(STILL, transfers=FETCHING, waits=(RATE, BREAKER)))
        lines.show(replace(STILL, transfers=FETCHING, waits=(RATE, BREAKER)))
    line, *explained = out.getvalue().splitlines()
    assert "fetching 2: 45.2 of 120.3 MB" in line
    assert "42 links wait for the rate limit, next in 8 s  7 links wait for the breaker" in line
    assert line.endswith("ETA > 58 min")
    what, remedy = explained  # said once; a turn that comes in 8 s needs no explanation
    assert what == "A site wants no more requests of this address for now: Sign in to confirm"
    assert "no link is lost. The site is asked again in 58 min" in remedy
    assert "HARDPOSE_DOWNLOAD_COOKIES" in remedy


@pytest.mark.parametrize(
    ("waits", "text"),
    [
        ((replace(RATE, last_seconds=1500),), "ETA 25 min"),  # not the pace of what went through at once
        ((BREAKER,), "ETA > 58 min"),  # then one is tried, and the site decides
        ((replace(RATE, seconds=1),), "ETA 40 s"),  # the work itself takes longer than the wait
    ],
)
def test_an_estimate_knows_what_waits(
    waits: tuple[Wait, ...], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter((0.0, 1.0, 10.0, 10.0, 10.0))
    monkeypatch.setattr("api.snapshot.time.monotonic", lambda: next(times))
    eta = Eta()
    assert str(eta) == ""
    eta.note(STILL)
    eta.note(replace(STILL, videos=5, videos_failed=1, videos_done=0, videos_waiting=4, waits=waits))
    assert str(eta) == text


def test_work_of_an_earlier_run_is_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 0.0, *[0.1] * 9))
    monkeypatch.setattr("api.snapshot.time.monotonic", lambda: next(clock))
    eta = Eta()
    two_thirds = replace(STILL, videos=15, videos_failed=10, videos_done=0, videos_waiting=5)
    eta.note(two_thirds)
    assert str(eta) == ""
    eta.note(replace(two_thirds, videos_failed=11, videos_waiting=4))
    assert str(eta) == "ETA 0 s"


def test_a_long_wait_for_a_turn_is_explained_once() -> None:
    explainer = Explainer()
    assert explainer.news((RATE,)) == []
    (text,) = explainer.news((replace(RATE, last_seconds=600),))
    assert "HARDPOSE_DOWNLOADS__VIDEOS_PER_HOUR" in text
    assert explainer.news((replace(RATE, last_seconds=600),)) == []
    assert "{x}" in explainer.news((replace(BREAKER, cause="{x}"),))[0]  # a site's words are no template


def test_neither_bytes_nor_a_countdown_flood_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "TRANSFER_SECONDS", 3600)
    with Lines(out, every=0) as lines:
        for tick in range(20):
            moved = (replace(FETCHING[0], received=tick),)
            lines.show(replace(STILL, transfers=moved, waits=(replace(RATE, seconds=14 - tick / 2),)))
        monkeypatch.setattr(progress, "TRANSFER_SECONDS", 0)
        lines.show(replace(STILL, transfers=FETCHING))
    assert len(out.getvalue().splitlines()) == 2


def test_json_lines_list_them_and_a_countdown_is_no_event() -> None:
    out = io.StringIO()
    with JsonLines(out) as lines:
        for seconds in (8.0, 7.0, 6.0):
            lines.show(replace(STILL, transfers=FETCHING[:1], waits=(replace(RATE, seconds=seconds),)))
        lines.show(replace(STILL, transfers=FETCHING))
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert first["transfers"] == [
        {"link": 1, "tool": "yt-dlp", "received": 25_100_000, "total": 60_000_000, "bytes_per_second": 1.5e6}
    ]
    assert first["waits"] == [
        {"reason": "rate", "links": 42, "seconds": 8.0, "cause": "", "last_seconds": 0.0}
    ]
    assert [t["link"] for t in second["transfers"]] == [1, 4]
    assert second["waits"] == []


def test_bars_come_and_go_with_what_they_show() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160)

    def shown(snapshot: Snapshot) -> str:
        bars.show(snapshot)
        out.truncate(0)
        bars._progress.refresh()
        return out.getvalue()

    with Bars(console) as bars:
        assert "transfer" not in shown(STILL)
        busy = shown(replace(STILL, transfers=FETCHING, waits=(replace(BREAKER, cause="[/b]"),)))
        assert "45/121" in busy
        assert "fetching 2: 45.2 of 120.3 MB" in busy
        assert "7 for the breaker, open for 58 min" in busy
        after = shown(STILL)
        assert "transfer" not in after
        assert "waiting" not in after


def test_bars_keep_their_names_in_a_narrow_terminal() -> None:
    out = io.StringIO()
    with Bars(Console(file=out, force_terminal=True, width=80)) as bars:
        waits = (
            replace(BREAKER, cause="[/b]" + "Sign in " * 30),
            replace(RATE, links=1234, last_seconds=900),
        )
        stages = {"pose": 0, "compare": 0}
        bars.show(replace(STILL, transfers=FETCHING, waits=waits, segments_by_stage=stages))
        assert "for now: [/b]Sign in" in " ".join(out.getvalue().split())  # a site's words are no markup
        out.truncate(0)
        bars._progress.refresh()
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    for name in ("videos", "transfer", "waiting", "pose", "compare"):
        assert f"{name} \u2501" in shown
    assert "7 for the breaker, open for 58 min" in shown
    assert "ETA > 58 min" in shown


def test_a_job_that_only_waits_is_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr("api.snapshot.time.monotonic", lambda: float(next(clock)))
    waits, hangs = Eta(), Eta()
    for _ in range(3):
        waits.note(replace(STILL, waits=(replace(RATE, links=49),)))
        hangs.note(replace(STILL, waits=(RATE,)))  # 42 of 49 wait; the others should move
    assert waits.quiet < hangs.quiet


def test_lists_are_not_counted_as_videos() -> None:
    links = [
        LinkView(position=0, link="list", state=State.DONE, listed=2),
        LinkView(position=1, link="a", state=State.FAILED, parent=0),
        LinkView(position=2, link="b", state=State.QUEUED, parent=0),
    ]
    snapshot = Snapshot.of(JobView(id="j", recipe=RECIPE, created_at="", links=tuple(links)), {})
    assert (snapshot.videos, snapshot.videos_done, snapshot.videos_failed) == (2, 0, 1)
    assert snapshot.videos_waiting == 1


@pytest.mark.usefixtures("clock")
def test_a_poll_shows_what_the_workers_have_told(system: Settings) -> None:
    runtime = Runtime(system)
    system.home.mkdir()
    runtime.catalog.create_job("job", RECIPE, ["a", "b", "c", "d"])
    egress = Egress(runtime.control, "default", 300, pause_seconds=3480)
    assert egress.ask("x") is None
    egress.poisoned("x", "Sign in\x1b[31m")
    parking = Parking(runtime.control)
    for position, reason in enumerate(("rate", "breaker", "breaker")):
        message = ParkedLink(job_id="job", position=position, link="a", task_id="t", reason=reason)
        parking.park(message, 800 + position)
    parking.park(ParkedLink(job_id="job2", position=9, link="a", task_id="t", reason="rate"), 1)
    runtime.control.transfer("job", 3, 10, 100, "yt-dlp")
    out = io.StringIO()
    with JsonLines(out) as view:
        next(polls(runtime, "job", view))
    *news, event = map(json.loads, out.getvalue().splitlines())
    assert {message["event"] for message in news} == {"message"}
    assert "Sign in?[31m" in news[0]["text"]
    assert [(w["reason"], w["links"], w["cause"]) for w in event["waits"]] == [
        ("breaker", 2, "Sign in?[31m"),
        ("rate", 1, ""),
    ]
    assert event["waits"][0]["seconds"] == 801
    assert [(t["link"], t["received"], t["total"]) for t in event["transfers"]] == [(4, 10, 100)]
    assert waits_of(runtime.control, "none") == ()
    assert transfers_of(runtime.control, "none") == ()


@pytest.mark.usefixtures("clock")
def test_what_is_tried_again_is_said_with_its_cause(system: Settings) -> None:
    runtime = Runtime(system)
    runtime.control.stumbled("job", 3, "No address is known for a.example\x1b[31m", 40)
    runtime.control.stumbled("job", 4, "HTTP 503.", 600)
    runtime.control.stumbled("job", 5, "HTTP 503.", 0)  # is under way by now
    runtime.control.stumbled("other", 3, "HTTP 502.", 4)
    (wait,) = waits_of(runtime.control, "job")
    assert (wait.reason, wait.links) == ("retry", 2)
    assert (wait.seconds, wait.last_seconds) == (40, 600)
    explainer = Explainer()
    (text,) = explainer.news((replace(wait, seconds=4, last_seconds=4),))  # short as it is
    assert text.endswith("is tried again, a few times: No address is known for a.example?[31m")
    assert explainer.news((wait,)) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (-3, "0 s"),
        (99, "99 s"),
        (100, "2 min"),
        (3480, "58 min"),
        (7200, "2.0 h"),
        (9 * 86400, "9 days"),
    ],
)
def test_a_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_texts_of_strangers_and_sizes() -> None:
    assert printable("a\x1b]0;b\x07\nc\udc80\u202e") == "a?]0;b? c??"
    assert (megabytes(45_200_000), megabytes(1_203_000_000)) == ("45.2", "1,203")
