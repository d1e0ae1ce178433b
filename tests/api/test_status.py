"""What ``status`` says, from a real catalog and a real broker."""

import json

import pytest
from samples_of_books import RECIPE

from api.downloads import DownloadsState
from api.status import print_job, print_jobs, shortened
from api.waiting import ask_parked
from broker.control import Control
from broker.egress import UNLIMITED, Egress
from broker.errors import Action
from broker.messages import Failure
from broker.parking import ParkedLink, Parking
from broker.settings import Settings, load_settings
from tasks.runtime import Runtime

pytestmark = pytest.mark.usefixtures("clock")  # it stands still: what is told of times is exact
WATCH = "https://www.youtube.com/watch?v=dQw4w9WgXcQ"
LIST = "https://www.youtube.com/playlist?list=PL1"
BOT = Failure(
    code="bot_check",
    cause="Sign in to confirm you're not a bot.",
    remedy="Wait.",
    action=Action.SESSION_POISONED,
    tool="yt-dlp",
    tool_version="2026.10.26",
)


def parked(position: int, reason: str) -> ParkedLink:
    return ParkedLink(job_id="job", position=position, link=WATCH, task_id=str(position), reason=reason)


@pytest.fixture
def runtime(system: Settings) -> Runtime:
    """A job with a list that was read, a link that failed, and one that is parked."""
    runtime = Runtime(system)
    system.home.mkdir()
    runtime.catalog.create_job("job", RECIPE, [LIST, "[/b]\x1b[31m.mp4"])
    runtime.catalog.start_link("job", 0)
    runtime.catalog.list_link("job", 0, [WATCH], "Jumps \x1b]0;x\x07", complete=False)
    runtime.catalog.fail_link("job", 1, BOT)
    Parking(runtime.control).park(parked(2, "breaker"), 3480)
    return runtime


def test_a_system_that_has_asked_no_site_has_nothing_to_say(system: Settings) -> None:
    state = DownloadsState.of(system)
    assert state.lines() == []
    assert state.json() | {"tools": []} == {
        "broker": "answers",
        "egress": [],
        "waiting": {"by_reason": {}, "next_seconds": None},
        "alerts": [],
        "tools": [],
    }


def test_rates_breakers_and_alerts_are_said(system: Settings) -> None:
    control = Control.of(system)
    busy = Egress(control, "busy", 30, burst=2)
    assert [busy.ask(f"{n}") is None for n in range(4)] == [True, True, False, False]
    flagged = Egress(control, "flagged", 2000, pause_seconds=3480)
    assert flagged.ask("a") is None
    flagged.poisoned("a", "Sign in to confirm\nyou're not a \x1b[31mbot")
    host = Egress(control, "host:a.example", UNLIMITED, pause_seconds=300)
    assert host.ask("a") is None
    host.poisoned("a", "HTTP 429")
    control.outdated_tool("yt-dlp", "2026.10.26", "no player response")
    control.outdated_tool("yt-dlp", "2026.10.26", "nsig")
    Parking(control).park(parked(0, "rate"), 800)
    lines = DownloadsState.of(system).lines()
    remedy = lines.pop(3)
    assert "Nothing is broken" in remedy
    assert "HARDPOSE_DOWNLOAD_PROXY" in remedy
    assert lines[:5] == [
        "egress busy: 30 videos/h, 2 asked in the last hour, 2 waiting (next in 2 min)",
        "egress flagged: 2000 videos/h, 1 asked in the last hour; breaker open for 58 min: "
        "Sign in to confirm you're not a ?[31mbot",
        "egress host:a.example: breaker open for 5 min: HTTP 429",
        "waiting: 1 for the rate limit; next in 13 min",
        "ALERT yt-dlp 2026.10.26 no longer understands the site: 2 links, the last: nsig "
        "-> pip install -U yt-dlp",
    ]
    assert lines[5].startswith("tools here: yt-dlp ")
    answer = json.loads(json.dumps(DownloadsState.of(system).json()))
    assert [view["identity"] for view in answer["egress"]] == ["busy", "flagged", "host:a.example"]
    assert answer["alerts"][0]["count"] == 2


@pytest.mark.parametrize(
    "url",
    [
        "redis://:sesame@127.0.0.1:1/0",  # nobody answers there
        None,  # none is configured
    ],
)
def test_a_broker_that_is_away_is_said_and_the_jobs_are_shown(
    url: str | None, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    away = load_settings(home=runtime.settings.home, broker_url=url)
    print_jobs(runtime.catalog.jobs(), DownloadsState.of(away), as_json=False)
    printed = capsys.readouterr().out
    assert "1 queued, 1 failed" in printed
    assert "downloads: rates and breakers are not known." in printed
    print_job(runtime.catalog.job("job"), False, *ask_parked(away, "job"))
    printed += capsys.readouterr().out
    assert "What waits is not known." in printed
    assert "failed (bot_check)" in printed
    assert "sesame" not in printed


def test_a_job_is_told_link_by_link(
    runtime: Runtime, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_job(runtime.catalog.job("job"), False, *ask_parked(runtime.settings, "job"))
    printed = capsys.readouterr().out
    assert "first 1 video of a list (Jumps ?]0;x?)" in printed
    assert "[/b]?[31m.mp4" in printed  # neither markup nor a terminal's command
    assert "\x1b]" not in printed
    assert "queued: breaker, 58 min" in printed
    assert "2 videos of 2 links, 0 frames examined" in printed
    assert "(session_poisoned; yt-dlp 2026.10.26) Sign in to confirm you're not a bot. Wait." in printed
    assert "1 failure may pass: hardpose retry job --reason bot_check" in printed
    assert "failed: bot_check" in printed


def test_a_long_job_is_readable(
    system: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    system.home.mkdir()
    catalog = Runtime(system).catalog
    links = [f"https://www.youtube.com/watch?v=private-{n:03}" for n in range(25)]
    catalog.create_job("job", RECIPE, [*links, "/films/" + "deep/" * 30 + "jump.mp4"])
    for position in range(25):
        catalog.fail_link("job", position, BOT)
    print_job(catalog.job("job"), as_json=False, home=system.home)
    printed = capsys.readouterr().out
    rows = printed.splitlines()[1:27]
    assert [row.split()[:3] for row in rows[:25]] == [[f"{n + 1}", links[n], "failed:"] for n in range(25)]
    assert rows[25].split() == ["26", "/films/" + "deep/" * 30 + "jump.mp4", "queued"]  # whole, in a pipe
    assert printed.count("failed (bot_check)") == 1
    assert f"hardpose retry job --home {system.home} --reason bot_check" in printed
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    print_job(catalog.job("job"), as_json=False)
    told = [line for line in capsys.readouterr().out.splitlines() if "failed: bot_check" in line]
    assert len(told) == 25
    assert max(map(len, told)) <= 80, told[0]
    assert [line[:3].strip() for line in told if "private-" in line] == [f"{n + 1}" for n in range(25)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a.org/b.mp4", "https://a.org/b.mp4"),  # it fits
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ", "youtube.com/watch?v=dQw4w9WgXcQ"),  # bare it fits
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PLabc", "youtube.c…w9WgXcQ&list=PLabc"),
        ("/films/of/a/very/deep/folder/number-400.mp4", "/films/of…der/number-400.mp4"),
    ],
)  # the end of a link is what tells it from others
def test_a_link_loses_its_middle(text: str, shown: str) -> None:
    short = shortened(text, 31 if "…" not in shown else len(shown))
    assert short == shown


def test_programs_get_all_of_it(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    print_job(runtime.catalog.job("job"), True, *ask_parked(runtime.settings, "job"))
    answer = json.loads(capsys.readouterr().out)
    assert [(w["position"], w["reason"]) for w in answer["waiting"]] == [(2, "breaker")]
    assert answer["videos"] == 2
    listing, failed, child = answer["links"]
    assert listing["list"] == {"title": "Jumps \x1b]0;x\x07", "videos": 1, "complete": False}
    assert (failed["list"], failed["state"]) == (None, "failed")
    assert (child["parent"], child["link"], child["state"]) == (0, WATCH, "queued")
    (reason,) = answer["failure_reasons"]
    assert (reason["code"], reason["count"], reason["retry"]) == ("bot_check", 1, True)
    print_jobs(runtime.catalog.jobs(), DownloadsState.of(runtime.settings), as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert [job["job_id"] for job in answer["jobs"]] == ["job"]
    assert answer["downloads"]["waiting"]["by_reason"] == {"breaker": 1}
