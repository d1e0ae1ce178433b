"""Starts that never end: counted in a real server, and one file that kills whoever opens it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from make_video import write_steady

from broker.control import Control
from broker.embedded import EmbeddedBroker
from broker.settings import Settings
from tasks.attempts import OutOfMemory, Poison, counted
from tasks.download import probe_apart


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with EmbeddedBroker(tmp_path_factory.mktemp("attempts")) as broker:
        yield Control(broker.url)


def test_an_end_good_or_bad_takes_the_count_back(control: Control) -> None:
    for _ in range(5):
        with counted(control, "good", 2, "The work") as starts:
            assert starts == 1
        with pytest.raises(ValueError), counted(control, "good", 2, "The work"):
            raise ValueError


def test_starts_that_never_ended_make_poison_and_a_new_beginning(control: Control) -> None:
    control.begin("bad")
    control.begin("bad")
    with pytest.raises(Poison, match="ended its worker process 2 times"), counted(control, "bad", 2, "It"):
        pytest.fail("it was started once more")
    with counted(control, "bad", 2, "It") as starts:
        assert starts == 1


def test_a_full_memory_becomes_a_typed_error(control: Control) -> None:
    # Celery takes a MemoryError for the end of the whole worker.
    with pytest.raises(OutOfMemory, match="more memory"), counted(control, "large", 2, "It"):
        raise MemoryError


def test_a_sound_file_is_probed_apart(tmp_path: Path, settings: Settings) -> None:
    probe_apart(write_steady(tmp_path / "clip.mp4", 5, 5), settings)


def test_a_file_that_kills_its_reader_is_poison(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No real file that crashes FFmpeg is at hand: an interpreter that dies stands in for the one that reads.
    deadly = tmp_path / "python"
    deadly.write_text("#!/bin/sh\nkill -SEGV $$\n")
    deadly.chmod(0o755)
    assert subprocess.run([deadly], check=False).returncode == -signal.SIGSEGV
    monkeypatch.setattr(sys, "executable", os.fspath(deadly))
    with pytest.raises(Poison, match="signal 11"):
        probe_apart(write_steady(tmp_path / "clip.mp4", 5, 5), settings)
