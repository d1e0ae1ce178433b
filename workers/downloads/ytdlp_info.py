"""What a site states, read out of yt-dlp's info dict. No import of yt-dlp: this is about its fields."""

import hashlib
import re
from typing import Any

from workers.downloads.contracts import MAX_WORDS, Metadata
from workers.downloads.sites import canonical

NAMELESS = ("generic", "html5mediaembed")
"""Extractors of any site's pages, whose ids are names of files: the same on many sites."""
Info = dict[str, Any]
"""yt-dlp's info dict."""


def metadata_of(info: Info, link: str) -> Metadata:
    """What the site states, from yt-dlp's info dict of one video whose format is chosen."""
    day = str(info.get("upload_date") or "")
    size = info.get("filesize")
    return Metadata(
        video_id=video_id(info),
        link=canonical(str(info.get("webpage_url") or link)),
        title=words(info, "title"),
        uploader=words(info, "channel", "uploader"),
        uploader_id=words(info, "uploader_id"),
        channel_id=words(info, "channel_id"),
        licence=words(info, "license") or "unknown",
        upload_date=f"{day[:4]}-{day[4:6]}-{day[6:]}" if re.fullmatch(r"[0-9]{8}", day) else "",
        duration_seconds=float(info["duration"]) if info.get("duration") else None,
        live=bool(info.get("is_live")) or info.get("live_status") in ("is_live", "is_upcoming", "post_live"),
        format_id=words(info, "format_id"),
        height=int(info["height"]) if info.get("height") else None,
        size_bytes=int(size) if size else None,
    )


def words(info: Info, *names: str) -> str:
    """The first of the fields that the site fills, as much of it as is of use."""
    return next((str(info[name])[:MAX_WORDS] for name in names if info.get(name)), "")


def video_id(info: Info) -> str:
    """``<site>:<id>``; an id with other characters than letters, digits, ``_`` and ``-`` becomes its hash."""
    site = re.sub(r"[^a-z0-9]", "", str(info.get("extractor_key") or "").lower()) or "site"
    name = str(info.get("id") or "")
    if site in NAMELESS:
        name = f"{info.get('webpage_url')} {name}"
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        return f"{site}:{name}"
    return f"{site}:{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:32]}"
