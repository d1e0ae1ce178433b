"""The first downloader: files on this machine, and direct http(s) links to media files."""

from functools import cache
from importlib.metadata import version
from pathlib import Path

from workers.downloads.contracts import Fetched, FetchLimits
from workers.downloads.errors import (
    EmptyFile,
    EmptyFolder,
    FileMissing,
    FileUnreadable,
    UnsupportedScheme,
    VideoTooLarge,
    encodable,
)
from workers.downloads.fetch import HttpLimits, Moved, fetch_url, unwatched
from workers.downloads.files import file_sha256
from workers.downloads.links import (
    VIDEO_SUFFIXES,
    file_url_path,
    has_scheme,
    is_remote,
    refuse_password,
    storable,
)
from workers.downloads.links import expand_links as expand_links  # one door for "what did they give us"
from workers.downloads.net.netguard import NetGuard

TOOL = "local"


def fetch(link: str, folder: Path, limits: FetchLimits, moved: Moved = unwatched) -> Fetched:
    """Gets the bytes of ``link``. A local file stays where it is; a remote one goes into ``folder``.

    Args:
        link: a path, a ``file:`` URL, or the http(s) address of a media file.
        folder: of this fetch alone, on a disk with room; made when needed.
        limits: see ``FetchLimits``.
        moved: told some times a second how far a remote file is; what it raises rises unchanged.

    Raises:
        FileMissing, FileUnreadable, EmptyFile, EmptyFolder: a local file cannot be used.
        VideoTooLarge: more than ``limits.max_bytes``.
        UnsupportedScheme, BadLink, PrivateAddress, NameNotResolved: the link may not be followed.
        NotFoundOnServer, RefusedByServer, TooManyRedirects, TooManyRequests, ServerBusy, TransferCut,
        DownloadTimeout, NotAVideo: see ``fetch_url``.
        DiskFull: no room in ``folder``.
    """
    refuse_password(link)
    if is_remote(link):
        return _fetch_remote(link, folder, limits, moved)
    if link.lower().startswith("file:"):
        return _take_local(link, file_url_path(link), limits)
    if has_scheme(link):
        raise UnsupportedScheme(
            f"The link's scheme {link.partition(':')[0]!r} is not supported.",
            "Give an http(s) link or a path.",
        )
    return _take_local(link, Path(link), limits)


def _take_local(link: str, path: Path, limits: FetchLimits) -> Fetched:
    path = path.absolute()
    try:
        there = path.exists()
    except OSError as error:  # a name longer than a file's can be, or a folder that may not be entered
        raise FileUnreadable(
            f"{str(path)[:300]} cannot be looked for: {error.strerror}.",
            "Check the path and its permissions.",
        ) from error
    if not there:
        raise FileMissing(f"There is no file {path}.", "Check the path.")
    if path.is_dir():
        known = ", ".join(sorted(VIDEO_SUFFIXES))
        raise EmptyFolder(f"The folder {path} holds no video.", f"Looked for are {known}.")
    if not path.is_file():  # a pipe or a device never ends
        raise FileUnreadable(f"{path} is not a regular file.", "Give a video file.")
    size = path.stat().st_size
    if size == 0:
        raise EmptyFile(f"{path} has 0 bytes.", "Copy or download it again.")
    if size > limits.max_bytes:
        raise VideoTooLarge(
            f"{path} has {size} bytes, the limit is {limits.max_bytes}.",
            "Give a smaller file, or raise HARDPOSE_MAX_VIDEO_BYTES.",
        )
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise FileUnreadable(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    return _fetched(link, path, path.stem, digest, temporary=False)


def _fetch_remote(link: str, folder: Path, limits: FetchLimits, moved: Moved) -> Fetched:
    folder.mkdir(parents=True, exist_ok=True)
    guard = NetGuard(limits.allow_networks)
    name = Path(guard.check_url(link).path).name
    # The server's name for it is text from outside: only its suffix is used, and only a known form of it.
    suffix = Path(name).suffix.lower() if Path(name).suffix[1:].isalnum() else ".video"
    path = folder / f"download{suffix}"
    fetch_url(link, path, HttpLimits(limits.max_bytes, limits.timeout_seconds), guard, moved)
    if path.stat().st_size == 0:
        raise EmptyFile("The server sends 0 bytes.", "Check that the link plays in a browser.")
    return _fetched(link, path, Path(name).stem or "video", file_sha256(path), temporary=True)


@cache
def _own_version() -> str:
    """Read once: the file that it is in takes 5 ms to be parsed."""
    return version("hardpose")


def _fetched(link: str, path: Path, title: str, digest: str, temporary: bool) -> Fetched:
    return Fetched(
        path=path,
        source=storable(link),
        video_id=f"sha256:{digest}",
        title=encodable(title),
        tool=TOOL,
        tool_version=_own_version(),
        sha256=digest,
        temporary=temporary,
    )
