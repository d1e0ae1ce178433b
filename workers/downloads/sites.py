"""What can be told of a site's link without asking the site: YouTube's ids, playlists and channels."""

import re
from urllib.parse import parse_qs, urlsplit

YOUTUBE_HOSTS = frozenset(
    {"youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "youtube-nocookie.com"}
    | {"www.youtube-nocookie.com", "youtu.be", "www.youtu.be"}
)
_ID = re.compile(r"[A-Za-z0-9_-]{11}", re.ASCII)
"""YouTube's video ids: 64 bits in base64url."""
_PATH_ID = re.compile(r"/(?:shorts|embed|live|v|e)/([A-Za-z0-9_-]{11})(?:/|$)", re.ASCII)


def is_youtube(link: str) -> bool:
    """Whether the link is one of YouTube's pages."""
    return _host(link) in YOUTUBE_HOSTS


def youtube_id(link: str) -> str | None:
    """The video's id, if the link names one video of YouTube; a playlist in it is not looked at."""
    if not is_youtube(link):
        return None
    parts = urlsplit(link)
    if _host(link).endswith("youtu.be"):
        candidate = parts.path.strip("/").partition("/")[0]
        return candidate if _ID.fullmatch(candidate) else None
    if found := _PATH_ID.match(parts.path):
        return found[1]
    if parts.path.rstrip("/") == "/watch":
        candidate = parse_qs(parts.query).get("v", [""])[0]
        return candidate if _ID.fullmatch(candidate) else None
    return None


def canonical(link: str) -> str:
    """One spelling for each video of YouTube; any other link as it is."""
    video = youtube_id(link)
    return f"https://www.youtube.com/watch?v={video}" if video else link


def known_video_id(link: str) -> str | None:
    """``youtube:<id>`` when the link alone says which video it is."""
    video = youtube_id(link)
    return f"youtube:{video}" if video else None


def _host(link: str) -> str:
    try:
        parts = urlsplit(link)
        return (parts.hostname or "").rstrip(".") if parts.scheme.lower() in ("http", "https") else ""
    except ValueError:  # an address in brackets that is none
        return ""
