"""What is typed: links, lists and rules, and the job that they make."""

from datetime import date
from pathlib import Path

import pytest
import typer
from samples_of_books import RECIPE
from typer.testing import CliRunner

from api.cli import cli
from api.exit_codes import ExitCode
from api.options import Asked, channels, parse_duration, takes_links
from api.orders import job_id_of
from broker.intake import Intake
from broker.recipe import canonical_hash


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),  # seconds are meant where no unit is given
        ("90s", 90),  # the same
        ("10m", 600),  # minutes
        ("1h30m", 5400),  # both
        ("1h5m20.5s", 3920.5),  # all three
        ("2H", 7200),  # capitals
    ],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "m", "1:30", "-5", "1m1h", "inf", "ten"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_duration(text)


def asked_by(*arguments: str | Path) -> Asked:
    """What a command with these options is given."""
    app, seen = typer.Typer(), list[Asked]()

    @app.command()
    @takes_links
    def look(asked: Asked, loud: bool = False) -> None:
        seen.append(asked)

    done = CliRunner().invoke(app, list(map(str, arguments)), standalone_mode=False)
    if done.exception:
        raise done.exception
    (asked,) = seen
    return asked


def test_rules_that_are_not_given_are_the_settings() -> None:
    base = Intake(since=date(2020, 1, 2), max_height=480, licences="cc", limit=3, max_duration_seconds=7)
    assert asked_by("a.mp4").intake(base) == base


def test_rules_that_are_given_stand_in_their_place(tmp_path: Path) -> None:
    denied = tmp_path / "denied.txt"
    denied.write_text("# ours\n@Zoe\n\nUCabc\n")
    asked = asked_by(
        "a.mp4", "--limit", "2", "--since", "2026-01-31", "--max-duration", "1h30m", "--max-height", "360",
        "--licence", "cc", "--deny-channel", "@ann", "--deny-list", denied, "--loud",
    )  # fmt: skip
    assert asked.intake(Intake(max_height=480, denied_channels=("Bad",))) == Intake(
        since=date(2026, 1, 31),
        max_duration_seconds=5400,
        max_height=360,
        licences="cc",
        denied_channels=("@ann", "@Zoe", "Bad", "UCabc"),  # what the settings deny stays denied
        limit=2,
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["b", "A"], ("A", "b")),  # in one order
        (["@Ann", "@ann"], ("@ann",)),  # once without regard to case
        (["https://www.youtube.com/@ann/videos"], ("@ann",)),  # a page by its handle
        (["youtube.com/channel/UCx-_1?a=b"], ("UCx-_1",)),  # a page by its id
        (["https://www.youtube.com/@%C3%A4nn"], ("@änn",)),  # a handle beyond ASCII
        (["https://www.youtube.com/watch?v=a"], ("https://www.youtube.com/watch?v=a",)),  # no channel
        ([" ", ""], ()),  # nothing
    ],
)
def test_channels_have_one_spelling(given: list[str], kept: tuple[str, ...]) -> None:
    assert channels([name for name in given if name.strip()]) == kept


def test_links_come_before_those_of_the_lists_and_each_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.jsonl"
    one.write_text("id,page\n1,https://youtu.be/dQw4w9WgXcQ\n2,https://a.org/b.mp4\n")
    two.write_text('{"page": "https://a.org/c.mp4"}\n')
    links = ["https://a.org/c.mp4", "https://www.youtube.com/watch?v=dQw4w9WgXcQ"]
    asked = asked_by(*links, "--list", one, "--list", two, "--column", "page")
    assert asked.read() == [*links, "https://a.org/b.mp4"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["enqueue"], "No video was given"),  # neither a link nor a list
        (["run", "--out", "o"], "No video was given"),  # the same
        (["run", "a.mp4", "--column", "x"], "--column says nothing without a list"),  # of which list?
        (["run", "--list", "none.txt"], "bad_link_list"),  # no such file
        (["run", "a.mp4", "--deny-list", "none.txt"], "bad_link_list"),  # the same for channels
        (["run", "a.mp4", "--since", "yesterday"], "--since"),  # no date
        (["run", "a.mp4", "--licence", "mit"], "--licence"),  # no such rule
        (["run", "a.mp4", "--max-duration", "1:30"], "is no duration"),  # no duration
        (["run", "a.mp4", "--limit", "0"], "--limit"),  # nothing at all
        (["run", "https://ann:sesame@a.org/v"], "bad_link"),  # a password
    ],
)
def test_wrong_usage_ends_with_2_and_starts_nothing(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == ExitCode.USAGE
    assert said in done.stderr
    assert "sesame" not in done.output
    assert list(tmp_path.iterdir()) == []


LINKS = ["https://a.org/1.mp4", "https://a.org/2.mp4"]


def test_a_job_without_rules_keeps_the_id_it_always_had() -> None:
    always = canonical_hash([LINKS, RECIPE.id])
    assert job_id_of(LINKS, RECIPE) == job_id_of(LINKS[::-1], RECIPE, Intake()) == always


@pytest.mark.parametrize(
    "changes",
    [
        {"limit": 1},
        {"since": date(2026, 1, 1)},
        {"max_height": 480},
        {"licences": "cc"},
        {"denied_channels": ("@ann",)},
        {"max_duration_seconds": 5.0},
    ],
)
def test_other_rules_are_another_job(changes: dict[str, object]) -> None:
    intake = Intake.model_validate(changes)
    assert job_id_of(LINKS, RECIPE, intake) != job_id_of(LINKS, RECIPE)
    assert job_id_of(LINKS, RECIPE, intake) == job_id_of(LINKS, RECIPE, Intake.model_validate(changes))


def test_a_link_that_no_file_can_be_named_has_an_id_too() -> None:
    assert job_id_of(["x" * 5000], RECIPE) != job_id_of(["y" * 5000], RECIPE)
