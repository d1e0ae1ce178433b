"""What is known of a video that was fetched more than once."""

import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples_of_books import RECIPE, a_video, link_of

from broker.catalog import Catalog
from broker.messages import Video

SITE: dict[str, Any] = {
    "id": "youtube:abcdefghijk",
    "source": "https://youtu.be/abcdefghijk",
    "uploader_id": "@someone",
    "channel_id": "UC1",
    "upload_date": "2024-02-29",
    "licence": "Creative Commons",
    "format_id": "136",
    "tool": "yt-dlp",
    "tool_version": "2026.10.26",
    "artifact": "videos/sha256-aa.mp4",
    "sha256": "aa",
}


def booked(catalog: Catalog, *videos: Video) -> Video:
    """What the catalog knows after ``videos`` were planned one after the other."""
    name = secrets.token_hex(8)
    catalog.create_job(name, RECIPE, ["a"])
    for video in videos:
        catalog.plan_video(name, 0, video, [])
    known = catalog.known_video(videos[0].id)
    assert known is not None
    assert link_of(catalog, name).video == known
    return known


def test_a_video_is_known_once_it_is_booked(catalog: Catalog) -> None:
    assert catalog.known_video("youtube:abcdefghijk") is None
    video = a_video(**SITE)
    assert booked(catalog, video) == video
    assert booked(catalog, video, video) == video


@pytest.mark.parametrize(
    ("second", "changed"),
    [
        ({"source": "https://www.youtube.com/watch?v=abcdefghijk"}, ()),  # another spelling of the link
        ({"title": "", "uploader": "", "licence": "unknown", "channel_id": ""}, ()),  # says less
        ({"title": "Renamed", "licence": "Standard"}, ()),  # the file came under the first licence
        ({"tool": "pytubefix", "format_id": "22"}, ()),  # the file is the first tool's
        ({"fps": 30.0}, ("fps",)),  # a fact of the file, looked at again
        (
            {"artifact": "videos/sha256-bb.mp4", "sha256": "bb", "tool": "pytubefix", "licence": "Standard"},
            ("artifact", "sha256", "tool", "licence"),
        ),  # another file: what its site says now is said of it
        (
            {"artifact": "videos/sha256-bb.mp4", "licence": "unknown", "source": "other"},
            ("artifact",),
        ),  # another file of which less is said
    ],
)
def test_a_second_fetch_makes_the_provenance_no_poorer(
    catalog: Catalog, second: dict[str, Any], changed: tuple[str, ...]
) -> None:
    first = a_video(**SITE)
    expected = first.model_copy(update={name: second[name] for name in changed})
    assert booked(catalog, first, a_video(**(SITE | second))) == expected


def test_gaps_are_filled(catalog: Catalog) -> None:
    gaps = {"title": "", "licence": "unknown", "uploader": "", "uploader_id": "", "upload_date": ""}
    full = a_video(**SITE)
    assert booked(catalog, a_video(**(SITE | gaps)), full) == full


def test_a_file_keeps_its_first_name(catalog: Catalog) -> None:
    """One content is one file, whatever suffix its copies have."""
    first = a_video("cd", source="/films/a.mp4", title="a", artifact="videos/sha256-cd.mp4")
    copy = a_video("cd", source="/films/b.MOV", title="b", artifact="videos/sha256-cd.mov")
    known = booked(catalog, first, copy)
    assert (known.source, known.title, known.artifact) == ("/films/a.mp4", "a", "videos/sha256-cd.mov")


WORDS = st.sampled_from(["", "one", "two"])
VIDEOS = st.builds(
    lambda title, uploader, licence, channel, artifact: a_video(
        id="site:x",
        title=title,
        uploader=uploader,
        licence=licence or "unknown",
        channel_id=channel,
        artifact=artifact,
    ),
    WORDS, WORDS, WORDS, WORDS, st.sampled_from(["videos/a", "videos/b"]),
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(videos=st.lists(VIDEOS, min_size=1, max_size=5))
def test_what_was_once_said_is_never_unsaid(catalog: Catalog, videos: list[Video]) -> None:
    name = secrets.token_hex(8)
    videos = [video.model_copy(update={"id": f"site:{name}"}) for video in videos]
    known = booked(catalog, *videos)
    for field, unsaid in (("title", ""), ("uploader", ""), ("licence", "unknown"), ("channel_id", "")):
        said = {getattr(video, field) for video in videos} - {unsaid}
        assert (getattr(known, field) in said) if said else (getattr(known, field) == unsaid)
    assert known.artifact == videos[-1].artifact
    assert booked(catalog, known) == known
