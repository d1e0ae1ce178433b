"""What people give as links: folders, paths, ``file:`` URLs and http(s) addresses."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from workers.downloads.errors import BadLink

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"}
    | {".ts", ".m2ts", ".mts", ".flv", ".wmv", ".ogv", ".3gp", ".mxf"}
)
"""Files that are taken from a folder. A file given by its own path may have any name."""


def is_remote(link: str) -> bool:
    """Whether the link is an http(s) address."""
    return link.lower().startswith(("http://", "https://"))


def has_scheme(link: str) -> bool:
    """Whether the link starts with a scheme; a path may hold a colon, but not ``://``."""
    scheme, colon, _ = link.partition(":")
    return link.lower().startswith("file:") or (
        bool(colon) and "://" in link and scheme.isascii() and scheme.isalpha()
    )


def file_url_path(url: str) -> Path:
    """The path of a ``file:`` URL.

    Raises:
        BadLink: if it names another host.
    """
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise BadLink(f"The link names a file on another machine: {parts.netloc}.", "Write file:///path.")
    return Path(unquote(parts.path))


def expand_links(links: Sequence[str]) -> list[str]:
    """Folders become their video files (recursively, by suffix, sorted), files absolute paths; each once.

    URLs stay as they are. So do a path that does not exist and a folder without a video: their failure is
    recorded for that link alone.
    """
    expanded: list[str] = []
    for link in links:
        path = Path(link)
        if has_scheme(link) or not path.exists():
            expanded.append(link)
        elif path.is_dir():
            expanded += [str(file) for file in _videos(path.absolute())] or [str(path.absolute())]
        else:
            expanded.append(str(path.absolute()))
    return list(dict.fromkeys(expanded))


def _videos(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    return sorted(path for path in files if not path.name.startswith("."))
