"""A check in a process of its own: whatever becomes of it, the user is told, and ours lives on."""

import os
from collections.abc import Callable
from pathlib import Path

import odd_checks
import pytest

from workers.apart import checked_apart
from workers.errors import ModelMismatch, WeightsDamaged


@pytest.fixture(autouse=True)
def child_finds_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(odd_checks.__file__).parent))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a file.h5"
    path.write_text("SIGSEGV")
    return path


def test_what_it_says_comes_back_out_of_all_noise(file: Path) -> None:
    pid, words = checked_apart(odd_checks.noisy, file).removeprefix("in ").split(": ")
    assert words == "SIGSEGV"
    assert int(pid) != os.getpid()


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_crash_is_a_damaged_file(file: Path, name: str) -> None:
    file.write_text(name)
    with pytest.raises(WeightsDamaged, match=rf"a file\.h5 crashed .* \({name}\)") as caught:
        checked_apart(odd_checks.crash, file)
    assert caught.value.remedy.startswith("Download it again")


def test_a_check_that_hangs_is_ended(file: Path) -> None:
    with pytest.raises(WeightsDamaged, match="within 2 seconds"):
        checked_apart(odd_checks.hang, file, most_seconds=2)


def test_an_error_that_nobody_thought_of_is_told_with_its_words(file: Path) -> None:
    with pytest.raises(WeightsDamaged, match=r"status 1: .*ZeroDivisionError: a number in it is 0"):
        checked_apart(odd_checks.defect, file)


@pytest.mark.parametrize(
    ("check", "kind", "remedy"),
    [
        (odd_checks.mismatch, ModelMismatch, "Give the right one, für alle Fälle."),
        (odd_checks.damaged, WeightsDamaged, "Again."),
    ],
)
def test_typed_errors_keep_their_type_and_words(
    file: Path, check: Callable[[Path], str], kind: type[ModelMismatch], remedy: str
) -> None:
    with pytest.raises(kind, match=r"a file\.h5 is") as caught:
        checked_apart(check, file)
    assert type(caught.value) is kind
    assert caught.value.remedy == remedy
