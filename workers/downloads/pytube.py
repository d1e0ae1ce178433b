"""The second downloader: pytubefix, and its ancestor pytube when that is asked for by name.

The only file that imports either. It runs in the child process of ``workers.downloads.tool.child``. No
program may be started there: pytubefix brings Node for the clients that need JavaScript, and Node could
reach the network beside the proxy. Its default client needs none.
"""

import importlib
import logging
import re
import socket
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from broker.errors import HardposeError, MissingDependency, SettingsError
from workers.downloads.bounded_urllib import bounded_opener
from workers.downloads.contracts import MAX_WORDS, Metadata
from workers.downloads.errors import ExtractionFailed, NoSuitableFormat, TransferCut, UnsupportedSite
from workers.downloads.pytube_errors import network_failure, site_failure
from workers.downloads.sites import canonical, is_youtube, youtube_id
from workers.downloads.tool.child import Report, ToolRequest

ANSWER_SECONDS = 30
"""For which a server may be silent."""
RETRIES = 3
"""Of one part of the file, after the connection broke."""
ANSWER_BYTES = 32 * 1024**2
"""Both packages read whole answers; a part of a video has 9 MiB, a page of YouTube about 1.5 MB."""

_CHANNEL = re.compile(r"/(?:@[^/]+|(?:channel|c|user)/[^/]+)")
_UPDATE = "Update the downloader: sites change every month."
logger = logging.getLogger(__name__)


def fetch(request: ToolRequest, report: Report) -> None:
    """Fetches a video's picture without sound, or lists a playlist or channel.

    Args:
        request: ``tool`` is ``pytubefix`` or ``pytube``; ``options["client"]`` is the client that
            pytubefix pretends to be (pytube has no choice of it).
        report: see ``Report``.

    Raises:
        UnsupportedSite: not a video, playlist or channel of YouTube.
        NoSuitableFormat: no format of at most ``request.max_height``.
        ExtractionFailed: the package no longer understands the site.
        TransferCut, VideoTooLarge: see ``Report.moved``.
        SettingsError: no such client.
        MissingDependency: the package is not installed.
        DownloadError: the others of ``workers.downloads.pytube_errors``.
    """
    if not is_youtube(request.link):
        raise UnsupportedSite(f"{request.tool} knows YouTube only.", "Leave the link out.")
    try:
        tool = importlib.import_module(request.tool)
    except ImportError as error:
        raise MissingDependency(
            f"{request.tool} is not installed.", f"Install hardpose[{request.tool}]."
        ) from error
    # In place of the packages' own ``proxies=``: the same proxy, and a bound on what is read into memory.
    urllib.request.install_opener(bounded_opener(request.proxy, ANSWER_BYTES))
    socket.setdefaulttimeout(ANSWER_SECONDS)
    try:
        if youtube_id(request.link):
            _fetch_video(tool, request, report)
        else:
            _list_videos(tool, request, report)
    except HardposeError:
        raise
    except Exception as error:
        if known := network_failure(error) or site_failure(error, ""):
            raise known from error
        raise  # what nobody has foreseen becomes ExtractionFailed in the child


def _fetch_video(tool: Any, request: ToolRequest, report: Report) -> None:
    youtube = _opened(tool, request)
    streams = _streams(tool, youtube)
    formats = _formats(youtube)
    stream = choose(streams, formats, request.max_height)
    metadata = _metadata(youtube, stream, formats[int(stream.itag)])
    report.found(metadata)
    report.fetched(_download(youtube, stream, request, report), metadata)


def _opened(tool: Any, request: ToolRequest) -> Any:
    client = str(request.options.get("client") or "")
    if not client or tool.__name__ == "pytube":
        return tool.YouTube(canonical(request.link))
    try:
        return tool.YouTube(canonical(request.link), client=tool.innertube.InnerTube(client).client_name)
    except KeyError as error:
        raise SettingsError(
            f"HARDPOSE_DOWNLOADS__PYTUBE_CLIENT is {client!r}, which {tool.__name__} does not know.",
            "Leave it empty for the package's own choice.",
        ) from error


def _streams(tool: Any, youtube: Any) -> list[Any]:
    try:
        return list(youtube.streams)
    except Exception as error:
        if known := site_failure(error, _reason(tool, youtube, error)):
            raise known from error
        raise


def _reason(tool: Any, youtube: Any, error: Exception) -> str:
    """The site's words for why the video cannot be played; the packages drop them for some."""
    if not isinstance(error, tool.exceptions.VideoUnavailable):
        return ""
    source = youtube.watch_html if tool.__name__ == "pytube" else youtube.vid_info
    _, messages = tool.extract.playability_status(source)
    return " ".join(str(text) for text in messages if text)


def _formats(youtube: Any) -> dict[int, Mapping[str, Any]]:
    data = youtube.streaming_data
    return {
        int(entry["itag"]): entry for key in ("formats", "adaptiveFormats") for entry in data.get(key, ())
    }


def choose(streams: Iterable[Any], formats: Mapping[int, Mapping[str, Any]], max_height: int) -> Any:
    """The stream to fetch: a picture without sound before one with it, H.264 before VP9 before the others.

    Args:
        streams: of pytubefix or pytube.
        formats: what the site states of each, by ``itag``.
        max_height: in pixels.

    Raises:
        ExtractionFailed: there is no stream that the package can fetch (SABR only, or none at all).
        NoSuitableFormat: all are higher than ``max_height``.
    """
    pictures = [s for s in streams if s.includes_video_track and not getattr(s, "is_sabr", False)]
    if not pictures:
        raise ExtractionFailed("The tool finds no format that it can fetch.", _UPDATE)
    heights = {stream: _height(stream, formats[int(stream.itag)]) for stream in pictures}
    fitting = [stream for stream in pictures if 0 < heights[stream] <= max_height]
    if not fitting:
        lowest = min(heights.values())
        raise NoSuitableFormat(
            f"No format has at most {max_height} lines; the lowest has {lowest}.",
            "Raise the job's max_height.",
        )

    def order(stream: Any) -> tuple[int, int, int, int]:
        entry = formats[int(stream.itag)]
        return (
            _rank(stream),
            -heights[stream],
            -int(entry.get("fps") or 0),
            -int(entry.get("bitrate") or 0),
        )

    return min(fitting, key=order)


def _rank(stream: Any) -> int:
    if stream.is_progressive:
        return 3
    codec = str(stream.video_codec or "")
    return 0 if codec.startswith("avc1") else 1 if codec.startswith(("vp9", "vp09")) else 2


def _height(stream: Any, entry: Mapping[str, Any]) -> int:
    if entry.get("height"):
        return int(entry["height"])
    lines = re.match(r"\d+", str(stream.resolution or ""))
    return int(lines[0]) if lines else 0


def _metadata(youtube: Any, stream: Any, entry: Mapping[str, Any]) -> Metadata:
    details = youtube.vid_info["videoDetails"]
    published = youtube.publish_date
    seconds, size = details.get("lengthSeconds"), entry.get("contentLength")
    return Metadata(
        video_id=f"youtube:{youtube.video_id}",
        link=canonical(f"https://www.youtube.com/watch?v={youtube.video_id}"),
        title=str(youtube.title or "")[:MAX_WORDS],
        uploader=str(details.get("author") or "")[:MAX_WORDS],
        channel_id=str(details.get("channelId") or "")[:MAX_WORDS],
        licence=_licence(youtube),
        upload_date=published.date().isoformat() if published else "",
        duration_seconds=float(seconds) if seconds else None,
        live=bool(details.get("isLive") or details.get("isUpcoming")),
        format_id=str(stream.itag),
        height=_height(stream, entry) or None,
        size_bytes=int(size) if size else None,
    )


def _licence(youtube: Any) -> str:
    """The row "License" under the video; YouTube shows it for Creative Commons only."""
    try:
        rows = list(youtube.metadata)
    except Exception as error:  # noqa: BLE001 - recorded as unknown, which the licence gate refuses
        logger.warning("no licence can be read: %s", type(error).__name__)
        return "unknown"
    return next((str(row["License"])[:MAX_WORDS] for row in rows if "License" in row), "unknown")


def _download(youtube: Any, stream: Any, request: ToolRequest, report: Report) -> Path:
    total = int(stream.filesize)
    youtube.register_on_progress_callback(lambda _s, _chunk, left: report.moved(total - left, total))
    suffix = stream.subtype if stream.subtype.isalnum() else "video"
    path = stream.download(
        output_path=str(request.folder),
        filename=f"{request.tool}.{suffix}",
        skip_existing=False,
        timeout=ANSWER_SECONDS,
        max_retries=RETRIES,
    )
    received = Path(path).stat().st_size
    if received != total:  # the packages take a 404 in the middle for the end
        raise TransferCut(f"{received} bytes of {total} arrived.", "Try again later.")
    return Path(path)


def _list_videos(tool: Any, request: ToolRequest, report: Report) -> None:
    found = _list_of(tool, request.link)
    links: dict[str, None] = {}
    for url in found.url_generator():
        if youtube_id(url):
            links[canonical(url)] = None
        if len(links) > request.max_entries:
            break
    if not links:  # these packages find nothing in a page that they do not understand, too
        raise ExtractionFailed("The tool finds no video in the list.", _UPDATE)
    title = str(found.title or "")
    report.listing(list(links)[: request.max_entries], title, len(links) <= request.max_entries)


def _list_of(tool: Any, link: str) -> Any:
    parts = urlsplit(link)
    if parse_qs(parts.query).get("list"):
        return tool.Playlist(link)
    if _CHANNEL.match(parts.path):
        return tool.Channel(link)
    raise UnsupportedSite("The link is not a video, playlist or channel of YouTube.", "Leave it out.")
