"""yt-dlp in its own process (see ``workers.downloads.tool.child``). Nobody else imports ``yt_dlp``."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yt_dlp
import yt_dlp.plugins
from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import (
    ContentTooShortError,
    DownloadError,
    ExtractorError,
    GeoRestrictedError,
    UnavailableVideoError,
    UnsupportedError,
    YoutubeDLError,
    unsmuggle_url,
)

from broker.errors import HardposeError
from workers.downloads.contracts import Metadata
from workers.downloads.errors import (
    BotCheck,
    EmptyList,
    ExtractionFailed,
    LiveStream,
    NoSuitableFormat,
    RefusedByServer,
    RegionBlocked,
    ServerBusy,
    TooManyRequests,
    TransferCut,
    UnsupportedSite,
)
from workers.downloads.links import is_remote
from workers.downloads.sites import canonical, is_youtube, youtube_id
from workers.downloads.tool.child import Report, ToolRequest
from workers.downloads.ytdlp_info import Info, metadata_of, words
from workers.downloads.ytdlp_part import Changed, Part, stem_of, template_of
from workers.downloads.ytdlp_words import AGAIN, OTHER, UPDATE, by_status, by_words, poisoned, tidy, warned

FORMAT = (
    "bv[height<={height}][vcodec^=avc1]/bv[height<={height}][vcodec~='^vp0?9']/bv[height<={height}]"
    "/b[height<={height}][vcodec^=avc1]/b[height<={height}]/bv[height<=?{height}]/b[height<=?{height}]"
)
"""A picture without sound, in a codec that decodes fast; one file, so nothing is merged and FFmpeg is not
needed. ``bv*`` in place of ``bv`` would take YouTube's 360 lines with sound, in H.264, before VP9 in full
height. Last come formats whose height the site does not state: the file itself is looked at later."""
PROTOCOLS = frozenset({"http", "https", "m3u8", "m3u8_native", "http_dash_segments"})
"""What yt-dlp fetches itself, over HTTP."""
WHOLE = frozenset({"http", "https"})
"""What comes as one file, of which a part can be continued."""
MAX_STARTS = 2
"""Of a transfer whose file is replaced meanwhile."""
RETRIES = 4
"""Of one transfer, each from where it broke; the task tries again after that."""
SOCKET_SECONDS = 20.0
MAX_DEPTH = 3
"""Of lists in lists: a channel's tabs are two deep."""
MAX_HOPS = 5
"""Pages that hand a link on to the next extractor."""
MAX_LINK = 8000
"""Characters; RFC 9110, 4.1 asks servers for no more. A list's links travel through the queue."""
LISTS = ("playlist", "multi_video")


def runtimes() -> Sequence[str]:
    """Path of the JavaScript runtime that may be started, if it is here: Deno.

    Deno gives a script of YouTube's no files, no network and no environment. Node gives it all three, and
    what a started program does, this process's own bounds do not see.
    """
    deno = _deno()
    return [deno] if deno else []


def _deno() -> str | None:
    return shutil.which("deno", path=sysconfig.get_path("scripts")) or shutil.which("deno")


def fetch(request: ToolRequest, report: Report) -> None:
    """Fetches the video of a page, or lists the videos of a playlist or channel.

    Raises:
        DownloadError: by kind.
        DiskFull: no room in the request's folder.
        Stopped: the parent does not want it.
    """
    _only_installed_plugins()
    stage = _Stage(request, report)
    with yt_dlp.YoutubeDL(_options(request, stage)) as ydl:
        try:
            stage.run(ydl)
        except (YoutubeDLError, OSError) as error:
            raise warned(translated(error, request.link, stage.moving), stage.log.warnings) from error


def _only_installed_plugins() -> None:
    # Plugins come with the packages that an operator installs, not from folders of a user or the system.
    yt_dlp.plugins.default_plugin_paths = lambda: map(Path, sys.path)


class _Log:
    """Where yt-dlp speaks: stderr, which the parent reads. What it warns of is kept."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, text: str) -> None:
        """Its progress, of which ours is enough."""

    def warning(self, text: str) -> None:
        self.warnings.append(text)
        self.error(f"WARNING: {text}")

    def error(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")


class _Stage:
    """One fetch: first the page, then the transfer."""

    def __init__(self, request: ToolRequest, report: Report) -> None:
        self._request = request
        self._report = report
        self.log = _Log()
        self.moving = False
        """Whether the transfer has begun."""
        self._part: Part | None = None

    def run(self, ydl: Any) -> None:
        info = _resolved(ydl, self._request.link)
        if info.get("_type") in LISTS:
            self._list(ydl, info)
            return
        if said := poisoned(self.log.warnings):
            self._doubt(info, said)
        metadata = metadata_of(info, self._request.link)
        self._report.found(metadata)
        _check(info, metadata)
        self.moving = True
        self._report.fetched(self._transfer(ydl, info, metadata.format_id), metadata)

    def _doubt(self, info: Info, said: HardposeError) -> None:
        # YouTube has every video without sound, too. Where the only format left is one with it, of 360 lines,
        # the better ones are withheld from this address: later they will be there.
        own_choice = not self._request.options.get("format")
        if own_choice and is_youtube(self._request.link) and info.get("acodec") not in (None, "none"):
            raise said
        self._report.warned(said.cause)

    def _transfer(self, ydl: Any, info: Info, format_id: str) -> Path:
        stem = stem_of(self._request.folder, format_id)
        ydl.params["outtmpl"]["default"] = template_of(stem)
        for _ in range(MAX_STARTS):
            self._part = Part(stem) if info["protocol"] in WHOLE else None
            if self._part is not None:
                self._part.drop_unknown()
            one = dict(info)
            try:
                ydl.process_info(one)
            except Changed:
                Part(stem).drop()
                continue
            return Path(one["filepath"])
        raise TransferCut("The site replaces the file while it is fetched.", AGAIN)

    def _list(self, ydl: Any, info: Info) -> None:
        most = self._request.max_entries
        own = canonical(self._request.link)
        links = _Links(ydl, most + 1)
        found = list(dict.fromkeys(link for link in links.of(info, 1) if link != own))
        if not found:
            raise links.skipped or EmptyList(
                "The link lists no video.", "Check that the list is public and not empty."
            )
        self._report.listing(found[:most], words(info, "title"), len(found) <= most)

    def progress(self, status: Mapping[str, Any]) -> None:
        """yt-dlp's progress hook."""
        total = status.get("total_bytes")
        if self._part is not None and total and status.get("status") == "downloading":
            self._part.of(int(total))
        self._report.moved(int(status.get("downloaded_bytes") or 0), total)


def _options(request: ToolRequest, stage: _Stage) -> Info:
    wanted = request.options
    expression = str(wanted.get("format") or FORMAT).replace("{height}", str(request.max_height))
    arguments = {key: dict(values) for key, values in dict(wanted.get("extractor_args") or {}).items()}
    if clients := wanted.get("player_clients"):
        arguments.setdefault("youtube", {})["player_client"] = list(clients)
    return {
        # what is fetched
        "format": expression,
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "playlistend": request.max_entries + 1,
        # where it goes
        "outtmpl": {"default": template_of(stem_of(request.folder, ""))},
        "cachedir": str(request.folder / "home" / "yt-dlp"),
        "continuedl": True,
        "updatetime": False,
        "fixup": "never",
        "allow_multiple_video_streams": False,
        # how it is asked for
        "proxy": request.proxy,
        "compat_opts": {"no-certifi"} if _own_authorities() else set(),
        "cookiefile": str(request.cookies) if request.cookies else None,
        "usenetrc": False,
        "enable_file_urls": False,
        "geo_bypass": False,
        "retries": RETRIES,
        "fragment_retries": RETRIES,
        "extractor_retries": 1,
        "skip_unavailable_fragments": False,
        "retry_sleep_functions": dict.fromkeys(("http", "fragment", "extractor"), _pause),
        "socket_timeout": SOCKET_SECONDS,
        "external_downloader": {"default": "native"},
        "hls_prefer_native": True,
        "ffmpeg_location": str(request.folder / "no-ffmpeg"),
        "js_runtimes": {"deno": {"path": deno}} if (deno := _deno()) else {},
        "extractor_args": arguments,
        # what it says
        "quiet": True,
        "noprogress": True,
        "color": "never",
        "logger": stage.log,
        "progress_hooks": [stage.progress],
    }


def _own_authorities() -> bool:
    # An operator's certificate authorities; yt-dlp would read certifi's in their place.
    return any(name in os.environ for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))


def _pause(n: int) -> float:
    """Seconds before the next try, ``n`` counted from 0."""
    return min(0.5 * 2.0**n, 10.0)


def _resolved(ydl: Any, link: str) -> Info:
    """The one extraction: a video with its chosen format, or a list whose entries are not yet read."""
    info: Info | None = ydl.extract_info(link, download=False, process=False)
    for _ in range(MAX_HOPS):
        kind = (info or {}).get("_type", "video")
        if info is None or kind in LISTS:
            break
        if kind != "url":
            info = ydl.process_ie_result(info, download=False)
            break
        info = ydl.extract_info(info["url"], download=False, process=False, ie_key=info.get("ie_key"))
    if not info or info.get("_type") == "url":
        raise ExtractionFailed("yt-dlp finds nothing behind the page.", UPDATE)
    return info


class _Links:
    """Walks the lists of a list."""

    def __init__(self, ydl: Any, most: int) -> None:
        self._ydl = ydl
        self._most = most
        self.skipped: HardposeError | None = None
        """Why an inner list gave nothing, the first time."""

    def of(self, info: Info, depth: int) -> Iterator[str]:
        """Links of the videos in a list, in its order."""
        seen: set[str] = set()
        for entry in self._entries(info):
            for link in self._of_entry(entry, depth):
                if link not in seen and len(seen) < self._most:
                    seen.add(link)
                    yield link
            if len(seen) >= self._most:
                return

    def _entries(self, info: Info) -> Iterable[Info]:
        entries = info.get("entries") or ()
        if hasattr(entries, "getslice"):  # yt-dlp's paged lists
            return (entry for entry in entries.getslice(0, self._most) if entry)
        return (entry for entry in islice(entries, self._most) if entry)

    def _of_entry(self, entry: Info, depth: int) -> Iterator[str]:
        if entry.get("_type") in LISTS:
            if depth < MAX_DEPTH:
                yield from self.of(entry, depth + 1)
            return
        link = _entry_link(entry)
        if not is_youtube(link) or youtube_id(link):
            yield from (canonical(link),) if link else ()
        elif depth < MAX_DEPTH:
            yield from self._inner(link, depth)

    def _inner(self, link: str, depth: int) -> Iterator[str]:
        try:
            info = _resolved(self._ydl, link)
        except YoutubeDLError as error:
            typed = translated(error, link, moving=False)
            if not isinstance(typed, EmptyList):
                raise typed from error
            self.skipped = self.skipped or typed
            return
        yield from self.of(info, depth + 1) if info.get("_type") in LISTS else ()


def _entry_link(entry: Info) -> str:
    """The page of an entry, empty if it has none that can be asked for again."""
    if entry.get("ie_key") == "Youtube" and entry.get("id"):
        return f"https://www.youtube.com/watch?v={entry['id']}"
    pages = [entry.get("url"), entry.get("webpage_url"), entry.get("original_url")]
    media = [media.get("url") for media in reversed(entry.get("formats") or [])]
    for candidate in pages + media:
        link = str(unsmuggle_url(candidate)[0]) if candidate else ""
        if is_remote(link) and len(link) <= MAX_LINK:
            return link
    return ""


def _check(info: Info, metadata: Metadata) -> None:
    if metadata.live:
        raise LiveStream("The video is a live stream, or is not yet a recording of one.", AGAIN)
    protocol = str(info.get("protocol") or "")
    if protocol not in PROTOCOLS or info.get("requested_formats"):
        raise NoSuitableFormat(
            f"The chosen format {metadata.format_id} comes over {protocol or 'several streams'}.",
            "Only single files, HLS and DASH over http(s) are fetched; check HARDPOSE_DOWNLOADS__FORMAT.",
        )


def translated(error: BaseException, link: str, moving: bool) -> HardposeError:
    """The typed error of one of yt-dlp's: by its type first, then by its words.

    Args:
        error: as raised by yt-dlp.
        link: that was asked for.
        moving: whether the transfer had begun.
    """
    chain = list(_causes(error))
    for inner in chain:
        if isinstance(inner, HardposeError):
            return inner
        if isinstance(inner, GeoRestrictedError):
            return RegionBlocked(f"{tidy(str(inner.orig_msg))}.", OTHER)
        if isinstance(inner, UnsupportedError):
            return UnsupportedSite("yt-dlp knows no video on this page.", OTHER)
        if isinstance(inner, ContentTooShortError):
            return TransferCut(f"{inner}.", AGAIN)
    text = str(error)
    said = by_words(text)
    if isinstance(said, (BotCheck, TooManyRequests)):  # more than the status that it came with
        return said
    for inner in chain:
        if isinstance(inner, HTTPError):
            return _refused(inner, link, moving)
        if isinstance(inner, TransportError):
            kind = TransferCut if moving else ServerBusy
            return kind(f"The connection failed ({tidy(str(inner))}).", AGAIN)
    return said or _unknown(chain, text)


def _refused(error: Any, link: str, moving: bool) -> HardposeError:
    if moving and error.status == 403 and is_youtube(link):
        # YouTube gives addresses to a client that it no longer serves, and then refuses them.
        return ExtractionFailed("YouTube refuses the address that it gave for the video (HTTP 403).", UPDATE)
    return by_status(error.status, str(error.response.url), str(error))


def _unknown(chain: Sequence[BaseException], text: str) -> HardposeError:
    """What no table knows. What yt-dlp expects is the site's own word: no other tool would hear another."""
    if any(isinstance(inner, ExtractorError) and inner.expected for inner in chain):
        return RefusedByServer(f"The site says: {tidy(text)}.", "Check that the link plays in a browser.")
    kind = type(chain[-1]).__name__
    return ExtractionFailed(f"{kind}: {tidy(text)}.", UPDATE)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what is inside it: yt-dlp keeps it in three places."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [getattr(one, "cause", None), one.__cause__]
        if isinstance(one, (DownloadError, ExtractorError)) and one.exc_info:
            inner.append(one.exc_info[1])
        if isinstance(one, UnavailableVideoError):
            inner.append(one.__context__)
        waiting += [item for item in inner if isinstance(item, BaseException)]
