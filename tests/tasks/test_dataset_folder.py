import os
import time
from pathlib import Path

import pytest

from broker.errors import DiskFull
from tasks.dataset.folder import replaced


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="dataset"), replaced(tmp_path / "dataset", "funnel.json"):
        Path("/dev/full").write_bytes(b"x")  # the kernel's own ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_folder_published_meanwhile_is_replaced_too(tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    with replaced(target, "mark") as late:
        (late / "mark").write_text("late")
        with replaced(target, "mark") as early:
            (early / "mark").write_text("early")
    assert (target / "mark").read_text() == "late"
    assert [p.name for p in tmp_path.iterdir()] == ["dataset"]


def test_leftovers_of_a_dead_process_go_after_a_day(tmp_path: Path) -> None:
    old, young = tmp_path / ".dataset.tmp-1-a", tmp_path / ".dataset.tmp-2-b"
    for path, hours in ((old, 25), (young, 1)):
        path.mkdir()
        os.utime(path, (time.time() - hours * 3600,) * 2)
    with replaced(tmp_path / "dataset", "mark"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [".dataset.tmp-2-b", "dataset"]
