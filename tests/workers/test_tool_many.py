"""Many fetches in one worker, some at once: each gets its own, and nothing is left behind."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from fake_site import FakeSite, serving, video_id, watch
from patience import until

from workers.downloads import errors
from workers.downloads.contracts import Fetched, FetchLimits, Unwatched
from workers.downloads.tool.process import ToolOptions, run_tool

LIMITS = FetchLimits(max_bytes=1_000_000, timeout_seconds=240, allow_networks=("127.0.0.0/8",))
EXTRAS = ("yt_dlp", "yt_dlp_ejs", "pytubefix", "pytube", "requests", "python_socks")


def media(name: str) -> bytes:
    return name.encode() * 5_000


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    with serving(media) as server:
        monkeypatch.setenv("PYTHONPATH", server.pythonpath(tmp_path / "plugin"))
        yield server


def one(folder: Path, number: int) -> str:
    """Fetches a video, a private one every third time; the video's bytes must be its own."""
    if number % 3 == 2:
        with pytest.raises(errors.VideoPrivate):
            run_tool("ytdlp", watch("private", number), folder, LIMITS, ToolOptions(), Unwatched())
        return "private"
    fetched = run_tool("ytdlp", watch("good", number), folder, LIMITS, ToolOptions(), Unwatched())
    assert isinstance(fetched, Fetched)
    assert fetched.path.read_bytes() == media(video_id("good", number))
    return fetched.video_id


def held() -> tuple[int, int, int]:
    """Open files, threads and children of this process, when they are at rest."""
    me, found = psutil.Process(), []
    for _ in range(600):
        found.append((me.num_fds(), threading.active_count(), len(me.children())))
        if len(set(found[-4:])) == 1 and len(found) >= 4:
            break
        time.sleep(0.1)
    return found[-1]


def fewer_or_as_many(after: tuple[int, ...], before: tuple[int, ...]) -> bool:
    return all(late <= early for late, early in zip(after, before, strict=True))


def test_four_threads_fetch_at_once_and_leave_nothing_open(site: FakeSite, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: one(tmp_path / f"{number}", number), range(4)))
        before = held()  # what is opened once for all is open now
        names = list(pool.map(lambda number: one(tmp_path / f"{number}", number), range(4, 16)))
        until(lambda: fewer_or_as_many(held(), before), lambda: f"{before}, not {held()}")
    assert names == [
        "private" if number % 3 == 2 else f"youtube:{video_id('good', number)}" for number in range(4, 16)
    ]


def test_the_worker_side_needs_none_of_the_tools() -> None:
    folder = Path(errors.__file__).parent
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.py") if path.stem != "ytdlp")
    names = [".".join(file.with_suffix("").parts) for file in files if file.stem != "__init__"]
    assert len(names) > 20
    program = f"import sys\nfor name in {EXTRAS}: sys.modules[name] = None\n"
    program += "\n".join(f"import workers.downloads.{name}" for name in names)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
