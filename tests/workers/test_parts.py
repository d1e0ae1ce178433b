import os
import subprocess
import sys
import time

import pytest

from workers.downloads.parts import FOLDER, PartBusy, part_folder, sweep


def never(error):
    return False


def always(error):
    return True


def test_it_is_gone_after_success(tmp_path):
    with part_folder(tmp_path, "a", always) as folder:
        (folder / "video.part").write_bytes(b"x")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("resumable", "there"),
    [
        (always, True),  # a cut: the next try goes on from here
        (never, False),  # a private video: nothing to come back for
    ],
)
def test_what_is_left_after_an_error(tmp_path, resumable, there):
    with pytest.raises(RuntimeError), part_folder(tmp_path, "a", resumable) as folder:
        (folder / "video.part").write_bytes(b"first half")
        raise RuntimeError
    assert folder.exists() == there
    with part_folder(tmp_path, "a", resumable) as again:
        assert again == folder and (again / "video.part").exists() == there


def test_an_empty_folder_is_nothing_to_come_back_for(tmp_path):
    with pytest.raises(RuntimeError), part_folder(tmp_path, "a", always) as folder:
        (folder / "tool").mkdir()
        raise RuntimeError
    assert not folder.exists()


def test_nobody_else_fetches_into_it(tmp_path):
    with part_folder(tmp_path, "a", never), pytest.raises(PartBusy), part_folder(tmp_path, "a", never):
        raise AssertionError("two at once")
    with part_folder(tmp_path, "a", never):
        pass


def test_the_lock_and_not_the_bytes_of_a_killed_process_is_gone(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from workers.downloads.parts import part_folder\n"
        "with part_folder(Path(sys.argv[1]), 'a', lambda error: False) as folder:\n"
        "    (folder / 'video.part').write_bytes(b'half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 9
    with part_folder(tmp_path, "a", never) as folder:
        assert (folder / "video.part").read_bytes() == b"half"


def test_sweeping_takes_the_old_and_leaves_what_is_young_or_in_use(tmp_path):
    for name in ("old", "young", "used"):
        folder = tmp_path / FOLDER / name
        folder.mkdir(parents=True)
        (folder / "video.part").write_bytes(b"x")
    long_ago = time.time() - 3600
    for name in ("old", "used"):
        folder = tmp_path / FOLDER / name
        os.utime(folder / "video.part", (long_ago, long_ago))
        os.utime(folder, (long_ago, long_ago))
    with part_folder(tmp_path, "used", always):
        assert sweep(tmp_path, 1800) == 1
        assert {p.name for p in (tmp_path / FOLDER).iterdir()} == {"young", "used"}


def test_sweeping_where_nothing_is(tmp_path):
    assert sweep(tmp_path / "nowhere") == 0
