"""The job's gates on what a site states of a video, before any byte of it is asked for."""

import re
from datetime import date

from broker.intake import Intake
from broker.settings import Settings
from workers.downloads.contracts import Metadata
from workers.downloads.errors import (
    ChannelDenied,
    LicenceRefused,
    LiveStream,
    PublishedTooEarly,
    VideoTooLarge,
    VideoTooLong,
)

_FREE = re.compile(
    r"creative\s*commons|\bcc[\s_-]*(by|0|zero)\b|\bpublic[\s_-]*domain\b|\bpdm\b", re.IGNORECASE
)
"""As YouTube, Vimeo, Flickr, the Internet Archive and Wikimedia write them; addresses of licences too."""


def check(metadata: Metadata, intake: Intake, settings: Settings) -> None:
    """Lets a video pass that the job takes in.

    What a site does not state passes the bounds on length and size, which the file itself meets later; it
    does not pass the gates on licence and day, which nothing else can tell.

    Raises:
        LiveStream: it is no recording yet.
        ChannelDenied: the job refuses its channel.
        LicenceRefused: the job takes freely licensed videos only.
        PublishedTooEarly: before the job's day, or nobody knows when.
        VideoTooLong, VideoTooLarge: over the job's bounds or those of the settings.
    """
    if metadata.live:
        raise LiveStream(
            "The video is a live stream, or is not yet a recording of one.", "Try again when it has ended."
        )
    _check_channel(metadata, intake)
    _check_licence(metadata, intake)
    _check_day(metadata, intake)
    _check_bounds(metadata, intake, settings)


def freely_licensed(licence: str) -> bool:
    """Whether a site's words name a Creative Commons licence, CC0 or the public domain."""
    return _FREE.search(licence) is not None


def _check_channel(metadata: Metadata, intake: Intake) -> None:
    names = {_plain(name) for name in (metadata.uploader, metadata.uploader_id, metadata.channel_id)} - {""}
    for denied in intake.denied_channels:
        if _plain(denied) in names:
            raise ChannelDenied(
                f"The channel {metadata.uploader or denied} is on the job's deny-list.",
                "Take it off the list, or leave the link out.",
            )


def _plain(name: str) -> str:
    return name.strip().removeprefix("@").casefold()


def _check_licence(metadata: Metadata, intake: Intake) -> None:
    if intake.licences == "cc" and not freely_licensed(metadata.licence):
        raise LicenceRefused(
            f"The video's licence is {metadata.licence!r}; the job takes Creative Commons only.",
            "Leave the link out, or let the job take any licence.",
        )


def _check_day(metadata: Metadata, intake: Intake) -> None:
    if intake.since is None:
        return
    remedy = f"The job takes videos published since {intake.since}; give an earlier day, or leave it out."
    try:
        day = date.fromisoformat(metadata.upload_date)
    except ValueError:
        raise PublishedTooEarly("The site does not say when the video was published.", remedy) from None
    if day < intake.since:
        raise PublishedTooEarly(f"The video was published on {day}.", remedy)


def _check_bounds(metadata: Metadata, intake: Intake, settings: Settings) -> None:
    longest = min(intake.max_duration_seconds or settings.max_duration_seconds, settings.max_duration_seconds)
    if metadata.duration_seconds is not None and metadata.duration_seconds > longest:
        raise VideoTooLong(
            f"The video has {metadata.duration_seconds:g} s, the limit is {longest:g} s.",
            "Raise the job's limit or HARDPOSE_MAX_DURATION_SECONDS.",
        )
    if metadata.size_bytes is not None and metadata.size_bytes > settings.max_video_bytes:
        raise VideoTooLarge(
            f"The video has {metadata.size_bytes} bytes, the limit is {settings.max_video_bytes}.",
            "Choose a smaller height, or raise HARDPOSE_MAX_VIDEO_BYTES.",
        )
