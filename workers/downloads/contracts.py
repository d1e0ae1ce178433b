"""What every downloader takes and gives: ``fetch(link, folder, limits) -> Fetched``."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FetchLimits:
    """Bounds of one fetch; the defaults are those of the settings.

    Attributes:
        max_bytes: of the file.
        timeout_seconds: from the first connection to the last byte.
        allow_networks: private networks (CIDR) that the link may reach.
    """

    max_bytes: int = 4 * 1024**3
    timeout_seconds: float = 1800.0
    allow_networks: tuple[str, ...] = ()


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
