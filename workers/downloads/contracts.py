"""What every downloader takes and gives: ``fetch(link, folder, limits, watcher) -> Fetched | Listing``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workers.downloads.errors import DownloadError

MAX_WORDS = 500
"""Characters kept of a title or a name; YouTube allows 100."""


@dataclass(frozen=True)
class FetchLimits:
    """Bounds of one fetch; the defaults are those of the settings.

    Attributes:
        max_bytes: of the file.
        timeout_seconds: from the first connection to the last byte.
        allow_networks: private networks (CIDR) that the link may reach.
        max_height: of a site's formats, in pixels; a direct link has only one.
        max_entries: most videos taken of a playlist or a channel.
    """

    max_bytes: int = 4 * 1024**3
    timeout_seconds: float = 1800.0
    allow_networks: tuple[str, ...] = ()
    max_height: int = 720
    max_entries: int = 5000


@dataclass(frozen=True)
class Metadata:
    """What a site states of a video, before any byte of it is asked for.

    Attributes:
        video_id: ``<site>:<id>``, letters, digits, ``_`` and ``-`` behind the colon.
        link: the page of the video.
        title: as stated.
        uploader: name of the channel or the person.
        uploader_id: handle or name in addresses, ``@name`` on YouTube.
        channel_id: the site's id of the channel.
        licence: ``unknown`` where the site states none.
        upload_date: ISO 8601 ``YYYY-MM-DD``, or empty.
        duration_seconds: None where it is not stated.
        live: a stream that runs, is about to, or is not yet a recording.
        format_id: of the format that would be fetched.
        height: of that format in pixels; None where it is not stated.
        size_bytes: of that format, if stated.
    """

    video_id: str
    link: str
    title: str
    uploader: str = ""
    uploader_id: str = ""
    channel_id: str = ""
    licence: str = "unknown"
    upload_date: str = ""
    duration_seconds: float | None = None
    live: bool = False
    format_id: str = ""
    height: int | None = None
    size_bytes: int | None = None


class Watcher(Protocol):
    """Follows one fetch. Any method may raise: the fetch ends there and the error rises unchanged."""

    def asking(self, tool: str) -> None:
        """The downloader ``tool`` is about to ask a server; nothing has been asked of it yet."""

    def outdated(self, error: DownloadError) -> None:
        """A tool no longer understands the site (``error.tool``); the next one follows, if there is one."""

    def found(self, metadata: Metadata) -> None:
        """The site has said what the video is; nothing of it has been asked for yet. Sites only."""

    def moved(self, received: int, total: int | None) -> None:
        """Bytes of the file that are here, and its size if known. Some times a second at most."""


class Unwatched:
    """A watcher that lets everything pass."""

    def asking(self, tool: str) -> None:
        """Nothing."""

    def outdated(self, error: DownloadError) -> None:
        """Nothing."""

    def found(self, metadata: Metadata) -> None:
        """Nothing."""

    def moved(self, received: int, total: int | None) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Listing:
    """The link led to a playlist or a channel.

    Attributes:
        links: of its videos, in the site's order, each once, canonical (see ``workers.downloads.sites``).
        title: as the site states it.
        complete: False when it holds more than ``FetchLimits.max_entries``.
        tool: the downloader.
        tool_version: its version.
    """

    links: tuple[str, ...]
    title: str
    complete: bool
    tool: str
    tool_version: str


@dataclass(frozen=True)
class Fetched:
    """A file that was fetched, not yet looked into.

    Attributes:
        path: where its bytes are. All texts beside it can be encoded as UTF-8.
        source: the link as it was given; percent-encoded where it is no UTF-8.
        video_id: ``sha256:<64 hex>`` for a file, ``<site>:<id>`` for a site.
        title: the site's, or the file's name without its suffix.
        tool: the downloader.
        tool_version: its version.
        sha256: of the bytes, hex.
        temporary: whether the file is ours to move or delete.
        licence: as the site states it.
        uploader: as the site states it.
        uploader_id: handle or name in addresses.
        channel_id: the site's id of the channel.
        upload_date: ISO 8601 ``YYYY-MM-DD``, or empty.
        format_id: the site's name of the format.
    """

    path: Path
    source: str
    video_id: str
    title: str
    tool: str
    tool_version: str
    sha256: str
    temporary: bool
    licence: str = "unknown"
    uploader: str = ""
    uploader_id: str = ""
    channel_id: str = ""
    upload_date: str = ""
    format_id: str = ""
