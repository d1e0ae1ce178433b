import importlib
import stat
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def interpreter(folder: Path, script: str) -> str:
    """A program in the place of Python that only runs ``script``."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    ("script", "numbers", "missed"),
    [
        ("exit 3", {"exit_status": 3}, "exit status 3 and wrote no numbers"),  # it failed before its end
        ("kill -9 $$", {"exit_status": -9}, "exit status -9 and wrote no numbers"),  # it was killed
        ("echo '{}' > $4; exit 1", {}, "an expectation does not hold"),  # it came to its end
    ],
)
def test_an_accuracy_run_that_ends_badly_misses_its_bound(
    script: str, numbers: dict[str, int], missed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY)  # the benchmarks are not installed
    accuracy = importlib.import_module("benchmarks.__main__").accuracy
    monkeypatch.setattr(sys, "executable", interpreter(tmp_path, script))
    found, faults = accuracy()
    assert found == numbers
    assert len(faults) == 1
    assert missed in faults[0]
