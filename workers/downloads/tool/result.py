"""What comes back from a downloader's process is looked at before it is believed."""

import re
from functools import cache
from pathlib import Path

from broker.errors import DiskFull, HardposeError, MissingDependency, SettingsError
from workers.downloads import errors
from workers.downloads.contracts import Metadata
from workers.downloads.errors import (
    DownloadError,
    EmptyFile,
    ExtractionFailed,
    NotAVideo,
    TransferCut,
    VideoTooLarge,
)
from workers.downloads.files import file_sha256

TOLERANCE_BYTES = 100
"""By which YouTube's files are now and then smaller than it says (yt-dlp's downloader, on HTTP 416)."""
_LOGIN = re.compile(r"(\w://)[^\s/?#'\"]*@")
_QUERY = re.compile(r"((?:\w://|url: /)[^\s?#'\"]*)[?#][^\s'\"<>)]*")
"""Of an address, or of a path as urllib3 names it: "Max retries exceeded with url: /path?query"."""
_PAGE_STARTS = (b"<!doctype html", b"<html", b"<head", b"<script")


@cache
def _classes() -> dict[str, type[HardposeError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    typed: dict[str, type[HardposeError]] = {
        value.code: value for value in found if issubclass(value, DownloadError)
    }
    return typed | {kind.code: kind for kind in (DiskFull, MissingDependency, SettingsError)}


def rebuilt(code: str, cause: str, remedy: str) -> HardposeError:
    """The error that was raised in the child, as an object of its own class, without what is secret."""
    return _classes().get(code, ExtractionFailed)(without_secrets(cause), remedy)


def without_secrets(text: str) -> str:
    """``text`` without the queries and passwords of the addresses in it.

    An address that a site gives out for a video is signed, and names the address that may use it.
    """
    return _QUERY.sub(r"\1?***", _LOGIN.sub(r"\1***@", text))


def checked_file(path: Path, folder: Path, metadata: Metadata, max_bytes: int) -> str:
    """Hex sha256 of a fetched file, after a look at it.

    Args:
        path: as the child says.
        folder: in which it must be.
        metadata: as the child says.
        max_bytes: of the file.

    Raises:
        ExtractionFailed: there is no such file in ``folder``.
        EmptyFile, NotAVideo, VideoTooLarge, TransferCut: it cannot be the video. It is removed, so that the
            next call does not take it for what it left there itself.
    """
    inside = path.resolve().is_relative_to(folder.resolve())
    if not inside or path.is_symlink() or not path.is_file():
        raise ExtractionFailed(
            f"The downloader names a file that is not there: {path.name}.", "Update the downloader."
        )
    try:
        _check(path, metadata, max_bytes)
    except DownloadError:
        path.unlink()
        raise
    return file_sha256(path)


def _check(path: Path, metadata: Metadata, max_bytes: int) -> None:
    size = path.stat().st_size
    if size == 0:
        raise EmptyFile("The site sends 0 bytes.", "Check that the link plays in a browser.")
    with path.open("rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_PAGE_STARTS):
        raise NotAVideo(
            "The site sends an HTML page instead of a video.", "Check that the link plays in a browser."
        )
    if size > max_bytes:
        raise VideoTooLarge(
            f"The video has {size} bytes, the limit is {max_bytes}.",
            "Choose a smaller height, or raise HARDPOSE_MAX_VIDEO_BYTES.",
        )
    if metadata.size_bytes is not None and size + TOLERANCE_BYTES < metadata.size_bytes:
        raise TransferCut(
            f"{size} of {metadata.size_bytes} bytes arrived.", "Run the same command again later."
        )
