"""`hardpose export`: what may be asked together, and what is told at the end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from export_books import book_samples, open_books
from typer.testing import CliRunner, Result

from api.cli import cli
from api.exit_codes import ExitCode


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of two videos: six hard frames, four easy ones."""
    folder = tmp_path_factory.mktemp("home")
    catalog, store = open_books(folder)
    book_samples(catalog, store, videos=2)
    catalog.dispose()
    return folder


Run = Callable[..., Result]


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Run:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["export", *arguments, "--home", str(home), "--out", str(tmp_path)])

    return call


def test_a_job_alone_is_its_data_set(run: Run, tmp_path: Path) -> None:
    done = run("job-1")
    assert done.exit_code == ExitCode.OK, done.output
    assert "(6 images)" in done.stdout
    assert len(list((tmp_path / "dataset" / "images").iterdir())) == 6
    assert json.loads(run("job-1", "--json").stdout)["images"] == 6


def test_a_selection_is_told_in_counts(run: Run, tmp_path: Path) -> None:
    done = run("job-1", "--format", "csv", "--threshold", "0.95", "--split", "50/50")
    assert done.exit_code == ExitCode.OK, done.output
    assert done.stdout.startswith("10 frames of 2 videos")
    assert f"csv: {tmp_path / 'csv'}" in done.stdout
    more = run("--format", "coco", "--control", "9", "--pose", "bent")
    assert "control arm: 4 of these, of 9 asked for: there are no more" in more.stdout
    told = json.loads(run("--format", "folders", "--verdict", "teacher_doubt", "--json").stdout)
    assert (told["counts"]["train"], told["folder"]) == (2, str(tmp_path / "folders"))
    assert not list(tmp_path.glob("folders/*/*/device"))  # these frames have not reached it
    nothing = run("--format", "csv", "--review", "rejected")
    assert nothing.exit_code == ExitCode.OK
    assert "Nothing matches" in nothing.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "A data set is of one job."),
        (["job-1", "job-2"], "A data set is of one job."),
        (["job-1", "--control", "3"], "--format coco"),  # would be passed over in silence
        (["job-1", "--split", "80/20"], "--format coco"),
        (["--format", "coco", "--split", "80/10"], "no split"),
        (["--format", "coco", "--split", "1/2/3/4"], "no split"),
        (["--format", "coco", "--split", "all"], "no split"),
        (["--format", "coco", "--min-iou", "0.5", "--threshold", "0.4"], "above below_iou"),
        (["nobody", "--format", "coco"], "There is no job 'nobody'"),
        (["nobody"], "There is no job 'nobody'"),
        (["job-1", "--format", "coco", "--video", "youtube:other"], "There is no video 'youtube:other'"),
        (["--format", "cocco"], "coco"),
    ],
)
def test_what_does_not_go_together_is_refused(
    run: Run, tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = run(*arguments)
    assert done.exit_code == ExitCode.USAGE
    assert words in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_of_a_stranger_is_not_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "mine.txt").write_text("keep")
    done = run("--format", "coco")
    assert done.exit_code == ExitCode.ENVIRONMENT
    assert "foreign_folder" in done.stderr
    assert [path.name for path in (tmp_path / "coco").iterdir()] == ["mine.txt"]
