"""The whole way of a YouTube link in a process that knows the fake site by its environment alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_youtube import FakeYouTube, Video

ID = "dQw4w9WgXcQ"
PROGRAM = """
import json, sys
from pathlib import Path
from broker.settings import load_settings
from workers.downloads.chain import fetch
from workers.downloads.contracts import FetchLimits, Unwatched
found = fetch(sys.argv[1], Path(sys.argv[2]), FetchLimits(timeout_seconds=240), load_settings(), Unwatched())
names = ("tool", "video_id", "title", "uploader", "uploader_id", "upload_date", "format_id")
print(json.dumps({name: getattr(found, name) for name in names} | {"path": str(found.path)}))
"""


@pytest.mark.parametrize(
    ("tools", "used", "handle"),
    [
        (["ytdlp", "pytubefix"], "yt-dlp", "@walkers"),  # as it is by default
        (["pytubefix"], "pytubefix", ""),  # pytubefix states no handle
        (["pytube"], "pytube", ""),  # by name
    ],
)
def test_a_link_of_youtube_through_the_settings(tmp_path, tools, used, handle):
    with FakeYouTube(tmp_path) as site:
        video = Video(ID)
        link = site.add(video)
        variables = site.environment() | {"HARDPOSE_DOWNLOADS__TOOLS": json.dumps(tools)}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, link, str(tmp_path / "job")],
            env={"PATH": os.environ["PATH"], **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=280,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found.pop("path")).read_bytes() == video.body
    assert found == {
        "tool": used,
        "video_id": f"youtube:{ID}",
        "title": "A person, walking",
        "uploader": "Walkers",
        "uploader_id": handle,
        "upload_date": "2026-03-04",
        "format_id": "136",
    }
