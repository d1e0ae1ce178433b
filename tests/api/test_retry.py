"""Another try for what failed, with a real catalog and a real broker."""

import json
from pathlib import Path

import pytest
from samples_of_books import RECIPE

from api.options import UnknownReason
from api.retry import print_sent, retry
from broker.errors import Action, BrokerUnavailable, NotFound
from broker.messages import Failure
from broker.settings import Settings, load_settings
from tasks.runtime import Runtime


@pytest.fixture
def runtime(system: Settings) -> Runtime:
    """Two jobs; of the first, links 0 and 2 met a bot check and link 1 is private, of the second, one is."""
    runtime = Runtime(system)
    system.home.mkdir()
    runtime.catalog.create_job("one", RECIPE, ["a", "b", "c", "d"])
    runtime.catalog.create_job("two", RECIPE, ["a"])
    private = Failure(code="video_private", cause="It is private.")
    bot = Failure(code="bot_check", cause="Sign in.", action=Action.SESSION_POISONED)
    for position, failure in enumerate((bot, private, bot)):
        runtime.catalog.fail_link("one", position, failure)
    runtime.catalog.fail_link("two", 0, private)
    return runtime


def states(runtime: Runtime, job_id: str = "one") -> str:
    return " ".join(link.state[0] for link in runtime.catalog.job(job_id).links)


@pytest.mark.parametrize(
    ("job_id", "reasons", "sent", "one"),
    [
        (None, (), {"one": 3, "two": 1}, "q q q q"),  # all that failed
        ("one", (), {"one": 3}, "q q q q"),  # of one job
        (None, ("bot_check",), {"one": 2}, "q f q q"),  # by code
        (None, ("session_poisoned",), {"one": 2}, "q f q q"),  # by action
        (None, ("video_private",), {"one": 1, "two": 1}, "f q f q"),  # in both jobs
        ("one", ("bot_check", "video_private"), {"one": 3}, "q q q q"),  # by several
    ],
)
def test_what_failed_for_a_reason_is_queued_and_sent(
    job_id: str | None, reasons: tuple[str, ...], sent: dict[str, int], one: str, runtime: Runtime
) -> None:
    before = runtime.control.messages(["download"])
    assert retry(runtime, job_id, reasons) == sent
    assert states(runtime) == one
    assert runtime.control.messages(["download"]) - before == sum(sent.values())


def test_a_reason_that_nothing_failed_for_is_answered_with_those_that_occur(runtime: Runtime) -> None:
    with pytest.raises(UnknownReason) as caught:
        retry(runtime, "one", ["bot_check", "botcheck"])
    assert caught.value.cause == "Nothing failed for botcheck."
    assert "bot_check (2)" in caught.value.remedy
    assert "session_poisoned (2)" in caught.value.remedy
    assert states(runtime) == "f f f q"


def test_without_a_broker_nothing_is_changed(runtime: Runtime) -> None:
    away = Runtime(load_settings(home=runtime.settings.home, broker_url="redis://127.0.0.1:1/0"))
    with pytest.raises(BrokerUnavailable) as caught:
        retry(away)
    assert "the same `hardpose run` command" in caught.value.remedy
    assert states(runtime) == "f f f q"


def test_an_unknown_job_is_named(runtime: Runtime) -> None:
    with pytest.raises(NotFound, match="nosuchjob"):
        retry(runtime, "nosuchjob")


def test_what_is_sent_is_said(capsys: pytest.CaptureFixture[str], runtime: Runtime) -> None:
    print_sent({"one": 2}, as_json=False)
    assert "one: 2 links are tried again; `hardpose watch one`" in capsys.readouterr().out
    print_sent({"one": 1}, as_json=False, home=Path("my films"))
    assert "one: 1 link is tried again; `hardpose watch one --home 'my films'`" in capsys.readouterr().out
    print_sent({}, as_json=False)
    assert "nothing to try again" in capsys.readouterr().out
    print_sent({"one": 2}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"sent": {"one": 2}}
