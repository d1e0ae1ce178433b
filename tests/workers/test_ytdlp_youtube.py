"""yt-dlp's own extractor of YouTube, in its real process, against a YouTube over TLS on 127.0.0.1."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_youtube import FakeYouTube, Video

from workers.downloads import errors
from workers.downloads.contracts import Fetched, FetchLimits, Listing, Unwatched
from workers.downloads.tool.process import ToolOptions, run_tool

ID = "dQw4w9WgXcQ"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeYouTube]:
    with FakeYouTube(tmp_path) as fake:
        monkeypatch.setenv("SSL_CERT_FILE", str(fake.ca_file))
        yield fake


def run(site: FakeYouTube, folder: Path, link: str, **limits: int) -> Fetched | Listing:
    options = ToolOptions(upstream=site.upstream, resolver=site.resolver)
    bounds = FetchLimits(timeout_seconds=240, **limits)
    return run_tool("ytdlp", link, folder / "job", bounds, options, Unwatched())


def test_whole_video_over_tls_and_through_the_operators_proxy(site: FakeYouTube, tmp_path: Path) -> None:
    site.add(Video(ID))
    fetched = run(site, tmp_path, site.link(ID))
    assert isinstance(fetched, Fetched)
    assert fetched.path.read_bytes() == Video(ID).body
    assert (fetched.video_id, fetched.title) == (f"youtube:{ID}", "A person, walking")
    assert (fetched.uploader_id, fetched.channel_id) == ("@walkers", "UCabcdefghijklmnopqrstuv")
    assert (fetched.upload_date, fetched.format_id) == ("2026-03-04", "136")


@pytest.mark.parametrize(
    ("itags", "chosen"),
    [
        ((18, 137, 136, 247, 398), "136"),  # H.264 of 720 lines
        ((18, 137, 247, 398), "247"),  # VP9 of 720 lines before H.264 of 360 with sound
        ((18, 137), "18"),  # with sound, within the bound
    ],
)
def test_format(site: FakeYouTube, tmp_path: Path, itags: tuple[int, ...], chosen: str) -> None:
    site.add(Video(ID, itags=itags))
    fetched = run(site, tmp_path, site.link(ID))
    assert isinstance(fetched, Fetched)
    assert fetched.format_id == chosen


@pytest.mark.parametrize(
    ("video", "kind"),
    [
        (
            Video(ID, status="LOGIN_REQUIRED", reason="Sign in to confirm you\u2019re not a bot"),
            errors.BotCheck,
        ),  # YouTube's answer to a flagged address
        (
            Video(ID, status="LOGIN_REQUIRED", reason="Private video"),
            errors.VideoPrivate,
        ),  # the same status
        (Video(ID, status="ERROR", reason="Video unavailable"), errors.VideoRemoved),  # no more is said
        (Video(ID, media="private"), errors.PrivateAddress),  # media that redirect into a private network
        (Video(ID, media="refused"), errors.TooManyRequests),  # media that answer 429
        (Video(ID, itags=()), errors.ExtractionFailed),  # nothing to fetch, and no reason given
        (Video(ID, itags=(), player_http=429), errors.TooManyRequests),  # of which yt-dlp only warns
        (Video(ID, itags=(18, 140), flagged=1), errors.TooManyRequests),  # better formats are withheld
        (Video(ID, itags=(), player_http=503), errors.ServerBusy),  # likewise
    ],
)
def test_failure_is_typed(
    site: FakeYouTube, tmp_path: Path, video: Video, kind: type[errors.DownloadError]
) -> None:
    site.add(video)
    with pytest.raises(kind) as caught:
        run(site, tmp_path, site.link(ID))
    assert type(caught.value) is kind


def test_video_in_full_is_taken_though_the_address_is_flagged(
    site: FakeYouTube, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site.add(Video(ID, flagged=1))
    fetched = run(site, tmp_path, site.link(ID))
    assert isinstance(fetched, Fetched)
    assert fetched.format_id == "136"
    assert "was told" in caplog.text
    assert "429" in caplog.text


def test_authority_that_nobody_knows_is_not_trusted(
    site: FakeYouTube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    site.add(Video(ID))
    with pytest.raises(errors.ServerBusy, match=r"(?i)certificate"):
        run(site, tmp_path, site.link(ID))
