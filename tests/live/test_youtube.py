"""Asks the real YouTube; never runs by itself: ``make test ARGS="-m live"``, some minutes, a few MB.

By default it takes "Big Buck Bunny" (Blender Foundation, CC BY). ``HARDPOSE_TEST_LIVE_LINK`` names another.
It takes this machine's address to the site: run it rarely, and not where the cluster's downloads leave from.
"""

import os
from pathlib import Path

import pytest

from broker.settings import Downloads, Settings
from workers.downloads.chain import fetch
from workers.downloads.contracts import Fetched, FetchLimits, Unwatched
from workers.downloads.sites import canonical, known_video_id
from workers.video import probe

LINK = "https://www.youtube.com/watch?v=aqz-KE-bpKQ"


@pytest.mark.live
@pytest.mark.parametrize("tool", ["ytdlp", "pytubefix"])
def test_the_real_site_gives_a_video_to(tool: str, tmp_path: Path, settings: Settings) -> None:
    link = os.environ.get("HARDPOSE_TEST_LIVE_LINK", LINK)
    alone = settings.model_copy(update={"downloads": Downloads(tools=(tool,))})
    fetched = fetch(link, tmp_path, FetchLimits(max_height=360, timeout_seconds=280), alone, Unwatched())
    assert isinstance(fetched, Fetched)
    assert fetched.video_id == known_video_id(canonical(link))
    assert fetched.title and fetched.uploader and fetched.upload_date
    facts = probe(fetched.path, alone.max_frame_pixels, alone.max_duration_seconds)
    assert min(facts.width, facts.height) <= 360 and facts.duration_ms > 1000
