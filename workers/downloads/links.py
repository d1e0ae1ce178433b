"""What people give as links: folders, paths, ``file:`` URLs and http(s) addresses."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from workers.downloads.errors import BadLink, encodable
from workers.downloads.sites import YOUTUBE_HOSTS, canonical

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"}
    | {".ts", ".m2ts", ".mts", ".flv", ".wmv", ".ogv", ".3gp", ".mxf"}
)
"""Files that are taken from a folder. A file given by its own path may have any name."""

_SCHEME = re.compile(r"file:|[a-z][a-z0-9+.-]+://", re.IGNORECASE)
"""RFC 3986, 3.1, but two characters at least: one letter is a drive."""
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
"""How Python writes the bytes of a file's name that are no UTF-8 (PEP 383)."""


def is_remote(link: str) -> bool:
    """Whether the link is an http(s) address."""
    return link.lower().startswith(("http://", "https://"))


def has_scheme(link: str) -> bool:
    """Whether the link starts with a scheme; a path may hold a colon, but not ``://``."""
    return _SCHEME.match(link) is not None


def refuse_password(link: str) -> None:
    """Lets only links through that may be stored and shown.

    Raises:
        BadLink: there is a user name or a password in the link; the text has neither, only the host.
    """
    _, found, rest = link.partition("://")
    if not found or "@" not in rest:
        return
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    port = authority.rpartition("]")[2].partition(":")[2]
    if "@" not in authority and (port.isdecimal() or not port):
        return
    # A password with one of /?# in it ends the authority early: what stands there may be a part of it.
    host = urlsplit("//" + authority.rpartition("@")[2]).hostname if "@" not in tail else None
    raise BadLink(
        f"The link to {host} carries a user name or password."
        if host
        else "A link carries a user name or password.",
        "Give a link without a password, or download the file and give its path.",
    )


def file_url_path(url: str) -> Path:
    """The path of a ``file:`` URL.

    Raises:
        BadLink: if it names another host, or cannot be parsed.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise BadLink(f"The link cannot be parsed: {error}.", "Write file:///path.") from error
    if parts.netloc not in ("", "localhost"):
        raise BadLink(f"The link names a file on another machine: {parts.hostname}.", "Write file:///path.")
    return Path(unquote(parts.path, errors="surrogateescape"))


def storable(link: str) -> str:
    """``link``, or the same as a percent-encoded URL when it holds bytes that are no UTF-8."""
    if encodable(link) == link:
        return link
    if has_scheme(link):
        return encodable(_ESCAPED_BYTE.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", link))
    try:
        return Path(link).absolute().as_uri()
    except UnicodeEncodeError:  # half a surrogate pair, which no file's name can be
        return encodable(link)


def with_scheme(link: str) -> str:
    """``link``, with ``https://`` where it is an address of YouTube as people paste it, without a scheme."""
    host = re.split("[/?#]", link, maxsplit=1)[0].lower()
    return f"https://{link}" if host in YOUTUBE_HOSTS else link


def exists(path: Path) -> bool:
    """Whether there is something at ``path``; a name that no file can have has nothing."""
    try:
        return path.exists()
    except OSError:  # too long, or a folder on the way that may not be entered: the fetch says which
        return False


def expand_links(links: Sequence[str]) -> list[str]:
    """Folders become their video files (recursively, by suffix, sorted), files absolute paths; each once.

    Of each video of YouTube there is one spelling, so that it is taken once; the scheme may be missing. Other
    URLs stay as they are. So do a path that does not exist and a folder without a video: their failure is
    recorded for that link alone. A path whose bytes are no UTF-8 becomes a percent-encoded ``file:`` URL:
    every link can be stored as text.

    Raises:
        BadLink: there is a user name or a password in a link.
    """
    expanded: list[str] = []
    for link in links:
        refuse_password(link)
        path = Path(link)
        if has_scheme(link) or not exists(path):
            expanded.append(canonical(with_scheme(link)))
        elif path.is_dir():
            expanded += [str(file) for file in _videos(path.absolute())] or [str(path.absolute())]
        else:
            expanded.append(str(path.absolute()))
    return list(dict.fromkeys(map(storable, expanded)))


def _videos(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    return sorted(path for path in files if not path.name.startswith("."))
