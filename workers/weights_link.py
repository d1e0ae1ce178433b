"""Weights that a link leads to: fetched within limits, and held to what their authors publish of them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from broker.errors import WeightsError
from workers.cards import ModelCard, OfficialFile
from workers.downloads.errors import DownloadTimeout, NotAVideo, UnsupportedScheme, VideoTooLarge
from workers.downloads.fetch import HttpLimits, Moved, fetch_url, unwatched
from workers.downloads.net.netguard import NetGuard

MAX_BYTES = 2 * 1024**3
"""Largest weights file. OpenPose's have 0.2 GB at most, Mask R-CNN's 0.26 GB, RF-DETR's largest 0.5 GB."""


@dataclass(frozen=True)
class WeightsLinks:
    """How links are fetched, and who is told.

    Attributes:
        allow_networks: private networks (CIDR) that a link may reach.
        seconds: longest time for one file.
        moved: told how many bytes are here.
    """

    allow_networks: tuple[str, ...] = ()
    seconds: float = 3600.0
    moved: Moved = unwatched

    def fetch(self, part: Path, url: str, card: ModelCard) -> None:
        """Fetches ``url`` into ``part``. Plain http reaches the public net only for a file with a known MD5.

        Raises:
            DownloadError: the server does not give it.
            WeightsError: it is too large, a page, or has another MD5 than the one published.
        """
        published = published_at(url, card)
        guard = NetGuard(self.allow_networks, plain_http=published is not None and bool(published.md5))
        host = urlsplit(url).hostname
        try:
            fetch_url(url, part, HttpLimits(MAX_BYTES, self.seconds), guard, self.moved)
        except NotAVideo as error:
            raise WeightsError(
                f"{host} sends an HTML page instead of a weights file.",
                "Give the direct link of the file, or download it in a browser and give its path.",
            ) from error
        except VideoTooLarge as error:
            raise WeightsError(f"{host} sends more than {MAX_BYTES:,} bytes.", "Check the link.") from error
        except DownloadTimeout as error:
            raise DownloadTimeout(
                f"{host} did not send the whole file within {self.seconds:g} s.",
                "The same command goes on from there; HARDPOSE_DOWNLOAD_TIMEOUT_SECONDS sets the time.",
            ) from error
        except UnsupportedScheme as error:
            raise UnsupportedScheme(
                error.cause,
                "Give an https link, or download the file, check it against what its authors publish, and "
                "give its path.",
            ) from error
        if published is not None and published.md5:
            _refuse_other(part, url, published.md5.lower())


def file_md5(path: Path) -> str:
    """Hex MD5 of the file's bytes: the checksum that authors publish. It names a file, it does not pin it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def published_at(url: str, card: ModelCard) -> OfficialFile | None:
    """The file that its authors publish at ``url``, if they do."""
    return next((file for file in card.official if file.url == url), None)


def _refuse_other(part: Path, url: str, md5: str) -> None:
    if (actual := file_md5(part)) != md5:
        raise WeightsError(
            f"{url} sends a file with the MD5 {actual}; its authors publish {md5}.",
            "The transfer or the server is not to be trusted: try again, or take the file from elsewhere.",
        )
