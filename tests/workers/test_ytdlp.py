"""The true yt-dlp, in its real process, against a site on 127.0.0.1."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_site import CUT, MORE, FakeSite, serving, video_id, watch
from hypothesis import given
from hypothesis import strategies as st
from make_video import write_steady

from broker.errors import Action
from broker.messages import Video
from workers.downloads import errors
from workers.downloads.contracts import Fetched, FetchLimits, Listing, Metadata, Unwatched
from workers.downloads.tool.process import ToolOptions, run_tool
from workers.downloads.ytdlp_info import video_id as video_id_of
from workers.downloads.ytdlp_words import TABLE, by_words

LIMITS = FetchLimits(max_bytes=1_000_000, timeout_seconds=240, allow_networks=("127.0.0.0/8",))


class Seen(Unwatched):
    """Keeps what the watcher is told."""

    def __init__(self) -> None:
        self.metadata: list[Metadata] = []
        self.bytes: list[tuple[int, int | None]] = []

    def found(self, metadata: Metadata) -> None:
        self.metadata.append(metadata)

    def moved(self, received: int, total: int | None) -> None:
        self.bytes.append((received, total))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    clip = write_steady(tmp_path_factory.mktemp("clip") / "clip.mp4", 40, 10, size=(320, 240))
    assert clip.stat().st_size > 0
    # Bytes behind the last box are no part of the film; they make it long enough to be cut.
    return clip.read_bytes() + bytes(range(256)) * 200


@pytest.fixture
def site(media: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    with serving(media) as server:
        monkeypatch.setenv("PYTHONPATH", server.pythonpath(tmp_path / "plugin"))
        yield server


def get(link: str, folder: Path, limits: FetchLimits = LIMITS, **options: object) -> Fetched:
    fetched = run_tool("ytdlp", link, folder, limits, ToolOptions(options), Seen())
    assert isinstance(fetched, Fetched)
    return fetched


def lists(link: str, folder: Path, most: int = 5000) -> Listing:
    limits = FetchLimits(allow_networks=("127.0.0.0/8",), timeout_seconds=240, max_entries=most)
    listing = run_tool("ytdlp", link, folder, limits, ToolOptions(), Unwatched())
    assert isinstance(listing, Listing)
    return listing


def test_whole_video_arrives_with_what_the_site_states(site: FakeSite, media: bytes, tmp_path: Path) -> None:
    seen = Seen()
    fetched = run_tool("ytdlp", watch("cc"), tmp_path, LIMITS, ToolOptions(), seen)
    assert isinstance(fetched, Fetched)
    assert fetched.path.read_bytes() == media
    assert (fetched.video_id, fetched.title) == (f"youtube:{video_id('cc')}", f"Video {video_id('cc')}")
    assert fetched.licence == "Creative Commons Attribution license (reuse allowed)"
    assert (fetched.uploader, fetched.uploader_id, fetched.channel_id) == (
        "Dancers",
        "@dancers",
        "UC0123456789",
    )
    assert (fetched.upload_date, fetched.format_id, fetched.tool) == ("2024-02-29", "avc-720", "yt-dlp")
    (metadata,) = seen.metadata
    assert (metadata.height, metadata.duration_seconds, metadata.live) == (720, 12.0, False)
    assert metadata.size_bytes is None  # the site's estimate of 1 TB refuses nothing
    assert seen.bytes[-1][1] == len(media)


@pytest.mark.parametrize(
    ("behaviour", "chosen"),
    [
        ("good", "avc-720"),  # H.264 below the bound, before more lines and newer codecs
        ("vp9", "vp9-720"),  # VP9 before AV1, and before H.264 of 360 lines with sound
        ("av1", "av1-720"),  # AV1 where there is nothing else without sound
        ("both", "both-360"),  # sound and picture in one file as the last resort
    ],
)
def test_format_is_the_one_that_decodes_fast(
    site: FakeSite, tmp_path: Path, behaviour: str, chosen: str
) -> None:
    assert get(watch(behaviour), tmp_path).format_id == chosen
    assert [asked.path.rpartition("/")[2] for asked in site.asked("/media/")] == [chosen]


def test_format_of_the_settings_goes_before_ours(site: FakeSite, tmp_path: Path) -> None:
    chosen = get(watch("good"), tmp_path, format="bv[height<={height}][vcodec^=av01]").format_id
    assert chosen == "av1-720"


def test_lower_height_of_a_job_chooses_a_smaller_format(site: FakeSite, tmp_path: Path) -> None:
    limits = FetchLimits(max_height=480, allow_networks=LIMITS.allow_networks)
    assert get(watch("good"), tmp_path, limits).format_id == "both-360"


def test_cut_transfer_asks_for_the_rest_alone(site: FakeSite, media: bytes, tmp_path: Path) -> None:
    assert get(watch("cut"), tmp_path).path.read_bytes() == media
    first, second = site.asked("/media/")
    assert first.range is None
    assert second.range is not None and 0 < int(second.range[6:-1]) <= CUT


def test_second_call_on_the_same_folder_continues(site: FakeSite, media: bytes, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    class StopsSoon(Unwatched):
        def moved(self, received: int, total: int | None) -> None:
            raise Enough

    with pytest.raises(Enough):
        run_tool("ytdlp", watch("short"), tmp_path, LIMITS, ToolOptions(), StopsSoon())
    (part,) = tmp_path.rglob("*.part")
    part.write_bytes(media[:12_345])  # how much was written when it was killed is a matter of luck
    before = len(site.asked("/media/"))
    with pytest.raises(errors.TransferCut):
        get(watch("short"), tmp_path)
    assert site.asked("/media/")[before].range == "bytes=12345-"


def test_part_of_a_file_that_was_replaced_is_not_continued(
    site: FakeSite, media: bytes, tmp_path: Path
) -> None:
    assert get(watch("changed"), tmp_path).path.read_bytes() == media[::-1] + MORE
    assert [asked.range is None for asked in site.asked("/media/")] == [True, False, True]


def test_part_of_an_unknown_whole_is_not_continued(site: FakeSite, media: bytes, tmp_path: Path) -> None:
    with pytest.raises(errors.TransferCut):
        get(watch("short"), tmp_path)
    (total,) = tmp_path.rglob("*.total")
    assert total.read_text() == str(len(media))
    before = len(site.asked("/media/"))
    total.unlink()
    with pytest.raises(errors.TransferCut):
        get(watch("short"), tmp_path)
    assert site.asked("/media/")[before].range is None


@pytest.mark.parametrize(
    ("behaviour", "requests"),
    [
        ("busy2", 3),  # two 503s, then the file
        ("norange", 2),  # cut, and the server sends the whole file again
        ("nolen", 1),  # nobody says how long it is
        ("hls", 4),  # a list, and its three pieces
    ],
)
def test_media_that_is_hard_to_get_arrives_whole(
    site: FakeSite, media: bytes, tmp_path: Path, behaviour: str, requests: int
) -> None:
    assert get(watch(behaviour), tmp_path).path.read_bytes() == media
    assert len(site.asked("/media/")) == requests


@pytest.mark.parametrize(
    ("behaviour", "kind", "action"),
    [
        ("short", errors.TransferCut, Action.TRANSIENT),  # the rest never comes
        ("empty", errors.EmptyFile, Action.PERMANENT),  # nothing comes
        ("big", errors.VideoTooLarge, Action.PERMANENT),  # too large by its announcement
        ("endless", errors.VideoTooLarge, Action.PERMANENT),  # too large by what comes
        ("html", errors.NotAVideo, Action.PERMANENT),  # a page with status 200
        ("m403", errors.ExtractionFailed, Action.OUTDATED_TOOL),  # YouTube to a client it no longer serves
        ("inside", errors.PrivateAddress, Action.PERMANENT),  # a redirect into a private network
        ("rtmp", errors.NoSuitableFormat, Action.PERMANENT),  # yt-dlp would start rtmpdump
        ("file", errors.NoSuitableFormat, Action.PERMANENT),  # a file of this machine as the video
        ("leak", errors.BadLink, Action.PERMANENT),  # a file of this machine as a piece of it
        ("tall", errors.NoSuitableFormat, Action.PERMANENT),  # no format within the bound
        ("page5xx", errors.ServerBusy, Action.TRANSIENT),  # the page answers 503
        ("page404", errors.NotFoundOnServer, Action.PERMANENT),  # the page answers 404
        ("rate", errors.TooManyRequests, Action.SESSION_POISONED),  # the page answers 429
        ("bot", errors.BotCheck, Action.SESSION_POISONED),  # the typographic apostrophe included
        ("limit", errors.TooManyRequests, Action.SESSION_POISONED),  # begins with "Video unavailable"
        ("private", errors.VideoPrivate, Action.PERMANENT),  # "Private video. Sign in if ..."
        ("removed", errors.VideoRemoved, Action.PERMANENT),  # the account was terminated
        ("members", errors.MembersOnly, Action.PERMANENT),  # "Join this channel ..."
        ("age", errors.AgeRestricted, Action.PERMANENT),  # "Sign in to confirm your age"
        ("region", errors.RegionBlocked, Action.PERMANENT),  # yt-dlp's own type for it
        ("soon", errors.LiveStream, Action.PERMANENT),  # "This live event will begin ..."
        ("live", errors.LiveStream, Action.PERMANENT),  # a stream that runs has no end
        ("drm", errors.DrmProtected, Action.PERMANENT),  # encrypted formats only
        ("odd", errors.RefusedByServer, Action.PERMANENT),  # the site's word, in no table
        ("broken", errors.ExtractionFailed, Action.OUTDATED_TOOL),  # the extractor finds nothing any more
        ("crash", errors.ExtractionFailed, Action.OUTDATED_TOOL),  # the extractor raises a TypeError
    ],
)
def test_failure_is_typed(
    site: FakeSite, tmp_path: Path, behaviour: str, kind: type[errors.DownloadError], action: Action
) -> None:
    with pytest.raises(kind) as caught:
        get(watch(behaviour), tmp_path)
    assert type(caught.value) is kind
    assert (caught.value.action, caught.value.tool) == (action, "yt-dlp")
    assert re.fullmatch(r"\d{4}\.\d+\.\d+", caught.value.tool_version)
    assert "--cookies" not in str(caught.value)
    received = sum(path.stat().st_size for path in tmp_path.rglob("media/*"))
    assert received <= LIMITS.max_bytes + 2**20


def test_page_that_was_busy_once_can_be_asked_again(site: FakeSite, media: bytes, tmp_path: Path) -> None:
    with pytest.raises(errors.ServerBusy):
        get(watch("page503"), tmp_path)
    assert get(watch("page503"), tmp_path).path.read_bytes() == media


def test_one_extraction_serves_the_gates_and_the_transfer(site: FakeSite, tmp_path: Path) -> None:
    get(watch("good"), tmp_path)
    assert [asked.path.partition("/")[2].partition("/")[0] for asked in site.asked()] == ["page", "media"]


def test_link_with_a_playlist_in_it_names_its_video(site: FakeSite, tmp_path: Path) -> None:
    assert get(f"{watch('good')}&list=PL-3", tmp_path).video_id == f"youtube:{video_id('good')}"


def test_playlist_is_listed_to_its_bound(site: FakeSite, tmp_path: Path) -> None:
    whole = lists("https://www.youtube.com/playlist?list=PL-7", tmp_path, most=7)
    assert whole.links == tuple(watch("good", number) for number in range(7))
    assert (whole.title, whole.complete, whole.tool) == ("List PL-7", True, "yt-dlp")
    part = lists("https://www.youtube.com/playlist?list=PL-7", tmp_path, most=6)
    assert (part.links, part.complete) == (whole.links[:6], False)
    assert site.asked("/page/") == site.asked("/media/") == []


def test_channel_is_walked_through_its_tabs(site: FakeSite, tmp_path: Path) -> None:
    listing = lists("https://www.youtube.com/@many", tmp_path)
    assert listing.links == tuple(watch("good", number) for number in range(5))  # 0-2 and 2-4, each once
    assert listing.complete


def test_bound_holds_over_all_tabs(site: FakeSite, tmp_path: Path) -> None:
    listing = lists("https://www.youtube.com/@many", tmp_path, most=4)
    assert (len(listing.links), listing.complete) == (4, False)


def test_entries_that_are_no_links_of_the_web_are_left_out(site: FakeSite, tmp_path: Path) -> None:
    assert len(lists("https://www.youtube.com/playlist?list=PL-2x", tmp_path).links) == 2


@pytest.mark.parametrize("name", ["playlist?list=PL-0", "@none"])
def test_empty_list_is_said_to_be_empty(site: FakeSite, tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.EmptyList):
        lists(f"https://www.youtube.com/{name}", tmp_path)


def test_page_of_another_site_with_a_video_in_it(site: FakeSite, media: bytes, tmp_path: Path) -> None:
    fetched = get(f"{site.base}/clip.html", tmp_path)
    assert fetched.path.read_bytes() == media
    # "clip-1" is what yt-dlp calls it, on every site that has a clip.mp4.
    assert re.fullmatch(r"html5mediaembed:[0-9a-f]{32}", fetched.video_id)


def test_page_without_a_video(site: FakeSite, tmp_path: Path) -> None:
    with pytest.raises(errors.UnsupportedSite):
        get(f"{site.base}/text.html", tmp_path)


def test_words_of_a_page_reach_no_file_name_and_no_program(
    site: FakeSite, media: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "100%(title)s"  # our own folder's name is no template either
    fetched = get(watch("evil"), folder)
    assert fetched.path.read_bytes() == media
    assert re.fullmatch(r"[0-9a-f]{16}\.mp4", fetched.path.name)
    assert fetched.path.parent == folder / "ytdlp" / "media"
    assert "$(touch x)" in fetched.title
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files.isdisjoint({"x", "y", "z", "w"})
    assert not any(Path(f"/tmp/evil-{letter}").exists() for letter in "xyz")


def test_user_and_system_configuration_is_not_read(
    site: FakeSite, media: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    config = home / ".config" / "yt-dlp"
    trap = config / "plugins" / "trap" / "yt_dlp_plugins" / "extractor"
    trap.mkdir(parents=True)
    (trap / "trap.py").write_text(f"open({str(home / 'sprung')!r}, 'w')\nraise SystemExit(9)\n")
    (config / "config").write_text("--exec 'touch sprung'\n--skip-download\n")
    (home / ".netrc").write_text("machine youtube login a password b\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    assert get(watch("good"), tmp_path / "fetch").path.read_bytes() == media
    assert not (home / "sprung").exists()


def test_cookies_of_the_operator_are_sent_and_stay_as_they_are(site: FakeSite, tmp_path: Path) -> None:
    jar = tmp_path / "cookies.txt"
    jar.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t4102444800\tpass\tword\n")
    jar.chmod(0o400)
    before = jar.read_bytes()
    run_tool("ytdlp", watch("good"), tmp_path / "fetch", LIMITS, ToolOptions(cookies=jar), Unwatched())
    assert site.asked("/page/")[0].cookie == "pass=word"
    assert jar.read_bytes() == before
    assert list((tmp_path / "fetch").rglob("cookies.txt")) == []  # nor does the copy stay behind


def test_cookies_that_are_not_there_are_named(site: FakeSite, tmp_path: Path) -> None:
    missing = ToolOptions(cookies=tmp_path / "none.txt")
    with pytest.raises(errors.FileUnreadable, match=r"none\.txt"):
        run_tool("ytdlp", watch("good"), tmp_path / "fetch", LIMITS, missing, Unwatched())
    assert site.asked() == []


@given(st.text(min_size=1), st.text(max_size=100))
def test_every_id_of_a_site_becomes_one_that_the_catalog_takes(key: str, name: str) -> None:
    made = video_id_of({"extractor_key": key, "id": name})
    assert re.fullmatch(Video.model_fields["id"].metadata[0].pattern, made)
    assert len(made) <= 65 + len(key)


def test_ids_that_only_differ_in_what_cannot_stay_differ_still() -> None:
    one, other = (video_id_of({"extractor_key": "Site", "id": name}) for name in ("a/b", "a.b"))
    assert one != other


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Video unavailable. This video is private", errors.VideoPrivate),  # private before removed
        ("Video unavailable", errors.VideoRemoved),  # no more is said
        ("This video has been removed by the uploader", errors.VideoRemoved),
        ("This video isn't available anymore", errors.VideoRemoved),
        (
            "Video unavailable. This video contains content from X, who has blocked it in your country on "
            "copyright grounds",
            errors.RegionBlocked,
        ),  # region before removed
        ("This video is available to this channel's members on level: Gold", errors.MembersOnly),
        ("This video requires payment to watch", errors.MembersOnly),
        ("Premieres in 2 days", errors.LiveStream),
        ("This live stream recording is not available.", errors.LiveStream),
        ("We're processing this video. Check back later.", errors.ServerBusy),
        ("All player responses are invalid. Your IP is likely being blocked by Youtube", errors.BotCheck),
        ("No video formats found!; please report this issue on x", errors.ExtractionFailed),
        ("The page needs to be reloaded.", errors.ExtractionFailed),
        ("Failed to extract any player response", errors.ExtractionFailed),
        ("[download] Got error: HTTP Error 503: Busy", errors.ServerBusy),  # a status in a text
        ("[download] Got error: HTTP Error 429: Slow down", errors.TooManyRequests),
        ("unable to write data: [Errno 28] No space left on device", None),  # DiskFull is no fault of a link
    ],
)
def test_words_mean_what_they_say(text: str, kind: type[errors.DownloadError] | None) -> None:
    found = by_words(text)
    assert found is not None
    assert type(found) is kind if kind else found.code == "disk_full"


def test_every_row_of_the_table_can_be_sent() -> None:
    assert len(TABLE) > 20
    for row in TABLE:
        assert json.dumps([row.kind.code, row.remedy])
        re.compile(row.pattern)
