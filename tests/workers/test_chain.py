"""From a link to its video: which downloader is asked, and when the next one is."""

import socket
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pytest
from fake_site import FakeSite, serving, video_id, watch
from make_video import write_steady

from broker.settings import Settings, Tool, load_settings
from workers.downloads import errors
from workers.downloads.chain import fetch, installed_tools, tool_options
from workers.downloads.contracts import Fetched, FetchLimits, Listing, Unwatched
from workers.downloads.tool.process import PACKAGES

LIMITS = FetchLimits(max_bytes=1_000_000, timeout_seconds=240, allow_networks=("127.0.0.0/8",))


class Seen(Unwatched):
    """Which tools ask, and which are outdated."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.dated: list[tuple[str, str, str]] = []

    def asking(self, tool: str) -> None:
        self.asked.append(tool)

    def outdated(self, error: errors.DownloadError) -> None:
        self.dated.append((error.tool, error.tool_version, error.code))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_steady(tmp_path / "clip.mp4", 5, 10)


@pytest.fixture
def site(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    known = socket.getaddrinfo

    def no_names(host: str, *rest: Any, **more: Any) -> list[Any]:
        if host == "127.0.0.1":
            return known(host, *rest, **more)
        raise socket.gaierror(socket.EAI_AGAIN, f"{host}: no name is known to these tests")

    with serving(clip.read_bytes()) as server:
        monkeypatch.setattr(socket, "getaddrinfo", no_names)
        monkeypatch.setenv("PYTHONPATH", server.pythonpath(tmp_path / "plugin"))
        yield server


def with_tools(*tools: Tool) -> Settings:
    return load_settings(downloads={"tools": tools})


def test_local_file_asks_nobody(clip: Path, tmp_path: Path, settings: Settings) -> None:
    seen = Seen()
    fetched = fetch(str(clip), tmp_path / "f", LIMITS, settings, seen)
    assert isinstance(fetched, Fetched)
    assert (fetched.path, fetched.tool, seen.asked) == (clip, "local", [])


def test_direct_link_asks_its_host_alone(site: FakeSite, tmp_path: Path, settings: Settings) -> None:
    seen = Seen()
    link = f"{site.base}/media/{video_id('good')}/clip.mp4"
    fetched = fetch(link, tmp_path / "f", LIMITS, settings, seen)
    assert isinstance(fetched, Fetched)
    assert (fetched.tool, seen.asked, len(site.asked())) == ("local", ["local"], 1)


def test_page_goes_on_to_the_tools(site: FakeSite, clip: Path, tmp_path: Path, settings: Settings) -> None:
    seen = Seen()
    fetched = fetch(f"{site.base}/clip.html", tmp_path / "f", LIMITS, settings, seen)
    assert isinstance(fetched, Fetched)
    assert fetched.path.read_bytes() == clip.read_bytes()
    assert seen.asked == ["local", "yt-dlp"]


def test_page_without_a_video_is_refused_by_the_tool(
    site: FakeSite, tmp_path: Path, settings: Settings
) -> None:
    seen = Seen()
    with pytest.raises(errors.UnsupportedSite) as caught:
        fetch(f"{site.base}/text.html", tmp_path / "f", LIMITS, settings, seen)
    assert (caught.value.tool, seen.asked) == ("yt-dlp", ["local", "yt-dlp"])


def test_page_where_only_youtubes_tools_are_wanted(site: FakeSite, tmp_path: Path) -> None:
    seen = Seen()
    with pytest.raises(errors.UnsupportedSite, match="YouTube only"):
        fetch(f"{site.base}/text.html", tmp_path / "f", LIMITS, with_tools("pytubefix"), seen)
    assert seen.asked == ["local"]


def test_youtube_goes_straight_to_the_tools(site: FakeSite, tmp_path: Path, settings: Settings) -> None:
    seen = Seen()
    given = f"https://youtu.be/{video_id('good')}?t=7"
    fetched = fetch(given, tmp_path / "f", LIMITS, settings, seen)
    assert isinstance(fetched, Fetched)
    assert (fetched.source, fetched.video_id) == (given, f"youtube:{video_id('good')}")
    assert (seen.asked, fetched.tool_version) == (["yt-dlp"], version("yt-dlp"))


def test_list_comes_back_as_a_list(site: FakeSite, tmp_path: Path, settings: Settings) -> None:
    listing = fetch(
        "https://www.youtube.com/playlist?list=PL-2", tmp_path / "f", LIMITS, settings, Unwatched()
    )
    assert isinstance(listing, Listing)
    assert listing.links == (watch("good", 0), watch("good", 1))


@pytest.mark.parametrize(
    "behaviour",
    [
        "private",  # the next tool would find the same
        "bot",  # a second client from this address deepens the block
        "page5xx",  # later, not otherwise
    ],
)
def test_what_is_said_of_the_video_ends_the_search(
    site: FakeSite, tmp_path: Path, settings: Settings, behaviour: str
) -> None:
    seen = Seen()
    with pytest.raises(errors.DownloadError) as caught:
        fetch(watch(behaviour), tmp_path / "f", LIMITS, settings, seen)
    assert (seen.asked, seen.dated, caught.value.tool) == (["yt-dlp"], [], "yt-dlp")


def test_next_tool_is_asked_when_one_no_longer_understands(site: FakeSite, tmp_path: Path) -> None:
    seen = Seen()
    # No name is known here, so pytubefix cannot reach YouTube: a finding of its own.
    with pytest.raises(errors.DownloadError) as caught:
        fetch(watch("broken"), tmp_path / "f", LIMITS, with_tools("ytdlp", "pytubefix"), seen)
    assert seen.asked == ["yt-dlp", "pytubefix"]
    assert seen.dated == [("yt-dlp", version("yt-dlp"), "extraction_failed")]
    assert caught.value.tool == "pytubefix"


def test_last_tool_that_no_longer_understands_is_said_too(site: FakeSite, tmp_path: Path) -> None:
    seen = Seen()
    with pytest.raises(errors.ExtractionFailed, match="Unable to extract player") as caught:
        fetch(watch("broken"), tmp_path / "f", LIMITS, with_tools("ytdlp"), seen)
    assert (caught.value.tool, len(seen.dated)) == ("yt-dlp", 1)


def test_watcher_that_wants_to_wait_is_heard_before_anything_is_asked(
    site: FakeSite, tmp_path: Path, settings: Settings
) -> None:
    class Later(Exception):
        pass

    class Waits(Unwatched):
        def asking(self, tool: str) -> None:
            raise Later

    with pytest.raises(Later):
        fetch(watch("good"), tmp_path / "f", LIMITS, settings, Waits())
    with pytest.raises(Later):
        fetch(f"{site.base}/clip.html", tmp_path / "f", LIMITS, settings, Waits())
    assert site.asked() == []


@pytest.mark.parametrize(
    "link",
    [
        "https://me:word@www.youtube.com/watch?v=good-000000",  # for a tool
        "http://me:word@127.0.0.1/clip.mp4",  # for the direct way
    ],
)
def test_link_with_a_password_is_refused_without_it(link: str, tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(errors.BadLink) as caught:
        fetch(link, tmp_path / "f", LIMITS, settings, Unwatched())
    assert "word" not in str(caught.value).replace("password", "")


def test_tool_that_is_not_installed_is_passed_over(
    site: FakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A name that no package has stands for one that is not installed.
    monkeypatch.setitem(cast("dict[str, str]", PACKAGES), "pytubefix", "hardpose-no-such-package")
    both = with_tools("pytubefix", "ytdlp")
    assert installed_tools(both) == [("yt-dlp", version("yt-dlp"))]
    seen = Seen()
    fetch(watch("good"), tmp_path / "f", LIMITS, both, seen)
    assert seen.asked == ["yt-dlp"]
    with pytest.raises(errors.ToolMissing, match=r"hardpose\[sites\]"):
        fetch(watch("good"), tmp_path / "f", LIMITS, with_tools("pytubefix"), Unwatched())


def test_tools_get_what_concerns_them_and_no_secret(tmp_path: Path) -> None:
    settings = load_settings(
        download_proxy="http://me:word@proxy.test:3128",
        download_cookies=tmp_path / "cookies.txt",
        downloads={"player_clients": ["tv"], "pytube_client": "WEB", "format": "b"},
    )
    ytdlp, pytube = tool_options("ytdlp", settings), tool_options("pytube", settings)
    assert ytdlp.values == {"format": "b", "player_clients": ["tv"], "extractor_args": {}}
    assert (pytube.values, pytube.cookies) == ({"client": "WEB"}, None)
    assert ytdlp.upstream == pytube.upstream == "http://me:word@proxy.test:3128"
    assert "word" not in repr(ytdlp)
