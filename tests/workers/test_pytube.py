"""pytubefix and pytube, the true packages, in their confined process against a YouTube on 127.0.0.1."""

import hashlib
import http.client
import importlib.util
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from fake_youtube import ADDRESSES, LICENCE, MEDIA_HOST, FakeYouTube, Video

from workers.downloads.bounded_urllib import AnswerTooLarge, bounded_opener
from workers.downloads.contracts import FetchLimits, Listing, Metadata, Unwatched
from workers.downloads.errors import (
    AgeRestricted,
    BotCheck,
    DownloadTimeout,
    ExtractionFailed,
    LiveStream,
    MembersOnly,
    NoSuitableFormat,
    PrivateAddress,
    RegionBlocked,
    ServerBusy,
    TooManyRequests,
    UnsupportedSite,
    VideoPrivate,
    VideoRemoved,
    VideoTooLarge,
)
from workers.downloads.pytube import choose
from workers.downloads.tool.process import ToolOptions, run_tool

ID = "dQw4w9WgXcQ"


@pytest.fixture
def site(tmp_path, monkeypatch):
    with FakeYouTube(tmp_path) as fake:
        monkeypatch.setenv("SSL_CERT_FILE", str(fake.ca_file))
        yield fake


class Notebook(Unwatched):
    """Writes down what it is told, and how much of the media had been asked for by then."""

    def __init__(self, site):
        self.site = site
        self.metadata: Metadata | None = None
        self.asked_before: list[str] = []
        self.received: list[int] = []

    def found(self, metadata):
        self.metadata = metadata
        self.asked_before = [host for host, _ in self.site.asked]

    def moved(self, received, total):
        self.received.append(received)


def run(site, tmp_path, link=None, *, tool="pytubefix", watcher=None, client="", **limits):
    options = ToolOptions({"client": client}, upstream=site.upstream, resolver=site.resolver)
    bounds = FetchLimits(**{"timeout_seconds": 240, **limits})
    return run_tool(tool, link or site.link(ID), tmp_path / "job", bounds, options, watcher or Unwatched())


@pytest.mark.parametrize(
    "tool",
    [
        "pytubefix",  # the living fork
        "pytube",  # version 15, as far as a site of 2023 carries it
    ],
)
def test_a_whole_video_arrives_with_what_the_site_states_of_it(site, tmp_path, tool):
    video = Video(ID, licence=LICENCE)
    site.add(video)
    notebook = Notebook(site)
    fetched = run(site, tmp_path, tool=tool, watcher=notebook)
    assert fetched.path.read_bytes() == video.body
    assert fetched.sha256 == hashlib.sha256(video.body).hexdigest()
    assert (fetched.video_id, fetched.title) == (f"youtube:{ID}", "A person, walking")
    assert (fetched.uploader, fetched.channel_id) == ("Walkers", video.channel_id)
    assert (fetched.licence, fetched.upload_date) == (LICENCE, "2026-03-04")
    assert (fetched.tool, fetched.format_id) == (tool, "136")
    assert notebook.metadata.duration_seconds == 12.0
    assert (notebook.metadata.height, notebook.metadata.size_bytes) == (720, len(video.body))
    assert notebook.received[-1] == len(video.body)
    assert notebook.asked_before and MEDIA_HOST not in notebook.asked_before


def test_everything_goes_through_the_proxy_by_checked_address(site, tmp_path):
    site.add(Video(ID))
    run(site, tmp_path)
    assert set(site.connected) == {f"{ADDRESSES[name]}:443" for name in ("youtube.com", "googlevideo.com")}


def test_nothing_is_written_outside_its_folder_or_into_the_package(site, tmp_path):
    site.add(Video(ID))
    package = Path(importlib.util.find_spec("pytubefix").origin).parent
    run(site, tmp_path)
    assert not (package / "__cache__").exists()
    assert sorted(path.name for path in (tmp_path / "job" / "pytubefix").iterdir()) == [
        "home",
        "pytubefix.mp4",
    ]
    assert list((tmp_path / "job" / "pytubefix" / "home").iterdir()) == []


@pytest.mark.parametrize(
    ("itags", "height", "chosen"),
    [
        ((18, 137, 136, 247, 398, 135, 140), 720, "136"),  # H.264 of the largest height that fits
        ((18, 137, 136, 247, 398, 135, 140), 1080, "137"),  # the bound is the job's
        ((18, 247, 398, 135, 140), 720, "135"),  # H.264 before VP9, even at a lower height
        ((18, 247, 398, 140), 720, "247"),  # VP9 before AV1
        ((18, 398, 140), 720, "398"),  # AV1 before a file with sound
        ((18, 137, 140), 720, "18"),  # a file with sound when nothing else fits
    ],
)
def test_which_format_is_fetched(site, tmp_path, itags, height, chosen):
    site.add(Video(ID, itags=itags))
    assert run(site, tmp_path, max_height=height).format_id == chosen


def test_no_format_within_the_height(site, tmp_path):
    site.add(Video(ID))
    with pytest.raises(NoSuitableFormat, match="at most 240 lines; the lowest has 360"):
        run(site, tmp_path, max_height=240)


def test_streams_of_the_sites_own_protocol_only_are_an_outdated_tool():
    sabr = SimpleNamespace(includes_video_track=True, is_sabr=True, itag=136)
    with pytest.raises(ExtractionFailed):
        choose([sabr], {136: {"height": 720}}, 720)


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        ("LOGIN_REQUIRED", "Sign in to confirm you’re not a bot", BotCheck),  # as YouTube writes it
        ("LOGIN_REQUIRED", "Sign in to confirm you're not a bot", BotCheck),  # with the other apostrophe
        ("LOGIN_REQUIRED", "Sign in to confirm your age", AgeRestricted),  # a class of its own
        ("AGE_CHECK_REQUIRED", "This video may be inappropriate for some users.", AgeRestricted),  # older
        (
            "LOGIN_REQUIRED",
            "This is a private video. Please sign in to verify that you may see it.",
            VideoPrivate,
        ),  # pytubefix knows it only as "login required"
        ("ERROR", "This video is private", VideoPrivate),  # a class of its own
        ("ERROR", "This video has been removed by the uploader", VideoRemoved),  # a class of its own
        ("ERROR", "Video unavailable", VideoRemoved),  # never was
        ("UNPLAYABLE", "This video has been removed for a copyright claim", VideoRemoved),  # words only
        (
            "UNPLAYABLE",
            "Join this channel to get access to members-only content like this video, and other "
            "exclusive perks.",
            MembersOnly,
        ),  # a class of its own
        ("UNPLAYABLE", "This video requires payment to watch.", MembersOnly),  # words only
        (
            "UNPLAYABLE",
            "The uploader has not made this video available in your country",
            RegionBlocked,
        ),  # a class of its own
        ("LIVE_STREAM_OFFLINE", "This live event will begin in 2 hours.", LiveStream),  # not a video yet
        ("ERROR", "Something new happened.", ExtractionFailed),  # words that nobody knows
        ("UNPLAYABLE", "This video is not available", ExtractionFailed),  # said to an outdated client
    ],
)
def test_why_a_video_cannot_be_had(site, tmp_path, status, reason, kind):
    site.add(Video(ID, status=status, reason=reason))
    with pytest.raises(kind) as caught:
        run(site, tmp_path)
    assert type(caught.value) is kind
    assert (caught.value.tool, caught.value.tool_version != "") == ("pytubefix", True)
    assert MEDIA_HOST not in [host for host, _ in site.asked]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"player_http": 429}, TooManyRequests),  # this address asks too often
        ({"player_http": 503}, ServerBusy),  # the site is unwell
        ({"player_http": 400}, ExtractionFailed),  # what pytube has met since 2024
        ({"garbage": True}, ExtractionFailed),  # a consent page in place of JSON
        ({"media": "refused"}, TooManyRequests),  # the media servers ask for less
        ({"media": "empty"}, ServerBusy),  # pytubefix alone would ask again without end
        ({"media": "private"}, PrivateAddress),  # the media redirects into a private network
    ],
)
def test_faults_of_the_site(site, tmp_path, fault, kind):
    site.add(Video(ID, **fault))
    with pytest.raises(kind) as caught:
        run(site, tmp_path)
    assert type(caught.value) is kind


def test_a_transfer_that_is_cut_again_and_again_is_whole_in_the_end(site, tmp_path):
    video = Video(ID, body=b"\0\0\0\x18ftypmp42" + b"x" * 5000, media="cut")
    site.add(video)
    assert run(site, tmp_path).path.read_bytes() == video.body


def test_media_that_are_gone_are_not_taken_for_a_short_video(site, tmp_path):
    site.add(Video(ID, media="missing"))
    with pytest.raises(Exception) as caught:
        run(site, tmp_path)
    assert caught.value.code == "transfer_cut"


def test_the_deadline_ends_a_site_that_dawdles(site, tmp_path):
    site.add(Video(ID, media="slow"))
    with pytest.raises(DownloadTimeout):
        run(site, tmp_path, timeout_seconds=4)


def test_a_file_over_the_limit_is_refused(site, tmp_path):
    site.add(Video(ID))
    with pytest.raises(VideoTooLarge):
        run(site, tmp_path, max_bytes=1000)


def test_a_client_that_the_package_does_not_know(site, tmp_path):
    site.add(Video(ID))
    with pytest.raises(Exception, match="HARDPOSE_DOWNLOADS__PYTUBE_CLIENT is 'GOPHER'"):
        run(site, tmp_path, client="GOPHER")


def test_a_client_that_needs_node_does_not_get_it(site, tmp_path):
    # Node could reach the network beside the guard proxy.
    site.add(Video(ID))
    with pytest.raises(ExtractionFailed, match="not allowed"):
        run(site, tmp_path, client="TV")


@pytest.mark.parametrize(
    "link",
    [
        "https://vimeo.com/12345",  # another site
        "https://www.youtube.com/feed/trending",  # YouTube, but neither video nor list
    ],
)
def test_links_that_it_does_not_know(site, tmp_path, link):
    with pytest.raises(UnsupportedSite):
        run(site, tmp_path, link)
    assert site.asked == []


@pytest.mark.parametrize(
    ("most", "complete"),
    [
        (3, True),  # all of it
        (2, False),  # cut off by the job's limit
    ],
)
def test_a_playlist_is_listed_and_nothing_of_it_fetched(site, tmp_path, most, complete):
    ids = ["aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"]
    site.playlists["PLfake"] = ("Walks", ids)
    found = run(site, tmp_path, "https://www.youtube.com/playlist?list=PLfake", max_entries=most)
    assert isinstance(found, Listing)
    assert found.links == tuple(site.link(name) for name in ids[:most])
    assert (found.title, found.complete, found.tool) == ("Walks", complete, "pytubefix")


def test_an_empty_list_may_be_an_outdated_tool(site, tmp_path):
    site.playlists["PLfake"] = ("Nothing", [])
    with pytest.raises(ExtractionFailed):
        run(site, tmp_path, "https://www.youtube.com/playlist?list=PLfake")


# --- answers are bounded in memory ---------------------------------------------------------------------


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        if "/cut" in self.path:
            self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * (500 if "/small" in self.path or "/cut" in self.path else 5000))

    def log_message(self, *arguments):
        pass


@pytest.fixture
def opener():
    """As in the child, but with the server in the proxy's place: it answers whatever it is asked."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield bounded_opener(f"http://u:p@127.0.0.1:{server.server_address[1]}", limit=1000)
        server.shutdown()


def test_an_endless_answer_ends_at_the_bound(opener):
    with pytest.raises(AnswerTooLarge, match="more than 1000 bytes"):
        opener.open("http://www.youtube.com/endless").read()


def test_an_answer_within_the_bound_is_whole(opener):
    assert opener.open("http://www.youtube.com/small").read() == b"x" * 500


def test_an_answer_that_is_cut_off_is_noticed(opener):
    with pytest.raises(http.client.IncompleteRead):
        opener.open("http://www.youtube.com/cut").read()
