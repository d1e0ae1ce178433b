"""A video site on 127.0.0.1 for the true yt-dlp, which finds it through the plugin in this folder.

What a video does is in its id: ``video_id("cut", 7)`` is ``cut-0000007``, 11 characters as YouTube's.

==========  =====================================================================================
good        pages and media as they should be; licence not stated
cc, std     the same, with a Creative Commons and with YouTube's own licence
long        stated to last ten hours
vp9, av1,   only that kind of format at 720 lines or less (``both``: sound and picture in one file)
both
tall        only formats above 720 lines
cut         the first answer ends after ``CUT`` bytes of all; a Range request gets the rest
short       as cut, but nothing after ``CUT`` bytes is ever sent
held        the first answer comes by single bytes after ``CUT`` of them, until ``let_go``
norange     cut at first; whatever is asked for, the whole file is sent
changed     cut at first; then the file is another one, with ``MORE`` behind it
nolen       the length of the file is not announced
empty       no byte
big         a length of 1 GiB is announced
endless     the file never ends
slow        the first byte at once, then one a second
html        a page in place of the video
busy2       the media answers 503 twice, then as it should
m403        the media answers 403
inside      the media redirects to 10.0.0.1
page503     the page answers 503 once, then as it should
page5xx     the page answers 503 always
page404     the page answers 404
rate        the page answers 429
hang        the page never answers
bot         "Sign in to confirm you're not a bot"; so with the next rows: YouTube's own words
bot1        the same at the first request, then as it should be
limit       "This content isn't available, try again later"
private, removed, members, age, region, soon, drm
odd         a reason that nobody has seen yet
live        a stream that runs
broken      the extractor finds no longer what it looks for
crash       the extractor raises what it should not
hls         one format in pieces, with a list of them
leak        the same, but the list names a file of this machine
rtmp, file  one format at an address that is not http
evil        title, format and file names that want to be commands and paths
==========  =====================================================================================

``playlist?list=PL-<n>`` has n good videos, and with an ``x`` at its end links that nobody should follow;
``/@many`` two tabs with three videos each, one of them in both, and a third that the channel does not have;
``/@none`` none. ``/clip.html`` is a page of another site with a video in it, ``/text.html`` one without.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CUT = 20_000
"""Bytes after which the cutting videos end a connection; the media should have more."""
MORE = b"more"
WATCH = "https://www.youtube.com/watch?v="
HOSTILE = '$(touch x)/../../x `touch y`; "%(exec)s" \u202e\n--exec touch z'

WORDS: dict[str, tuple[str, str]] = {
    "bot": (
        "ExtractorError",
        "Sign in to confirm you\u2019re not a bot. Use --cookies-from-browser or --cookies",
    ),
    "limit": (
        "ExtractorError",
        "Video unavailable. This content isn't available, try again later. The current session has been "
        "rate-limited by YouTube for up to an hour.",
    ),
    "private": ("ExtractorError", "Private video. Sign in if you've been granted access to this video"),
    "removed": (
        "ExtractorError",
        "Video unavailable. This video is no longer available because the YouTube account associated with "
        "this video has been terminated.",
    ),
    "members": (
        "ExtractorError",
        "Join this channel to get access to members-only content like this video, and other exclusive perks.",
    ),
    "age": ("ExtractorError", "Sign in to confirm your age. This video may be inappropriate for some users."),
    "region": (
        "GeoRestrictedError",
        "The uploader has not made this video available in your country",
    ),
    "soon": ("ExtractorError", "This live event will begin in 3 hours."),
    "drm": ("ExtractorError", "This video is DRM protected"),
    "odd": ("ExtractorError", "The stars do not favour this video"),
}
FORMATS: dict[str, tuple[int, str, str, str]] = {
    "avc-1080": (1080, "avc1.640028", "none", "mp4"),
    "avc-720": (720, "avc1.64001f", "none", "mp4"),
    "vp9-720": (720, "vp09.00.31.08", "none", "webm"),
    "av1-720": (720, "av01.0.05M.08", "none", "mp4"),
    "both-360": (360, "avc1.42001E", "mp4a.40.2", "mp4"),
}
"""Height, codecs of picture and sound, suffix. yt-dlp's own order would take AV1 before VP9 before H.264."""
OFFERED: dict[str, tuple[str, ...]] = {
    "vp9": ("avc-1080", "vp9-720", "av1-720", "both-360"),
    "av1": ("avc-1080", "av1-720", "both-360"),
    "both": ("avc-1080", "both-360"),
    "tall": ("avc-1080",),
}


def video_id(behaviour: str, number: int = 0) -> str:
    """An id of 11 characters."""
    return f"{behaviour}-{number:0{10 - len(behaviour)}d}"


def watch(behaviour: str, number: int = 0) -> str:
    """The link of a video."""
    return WATCH + video_id(behaviour, number)


@dataclass(frozen=True)
class Asked:
    """One request: when (monotonic seconds), what, of which video (empty for none), which bytes, cookies."""

    time: float
    path: str
    video: str
    range: str | None
    cookie: str | None = None


class FakeSite(ThreadingHTTPServer):
    """The server. ``media`` are the bytes of every video, or gives those of an id."""

    daemon_threads = True

    def __init__(self, media: bytes | Callable[[str], bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._media = media
        self._asked: list[Asked] = []
        self._going: set[str] = set()
        self._lock = threading.Lock()
        self.closing = threading.Event()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def pythonpath(self, folder: Path) -> str:
        """PYTHONPATH for the processes that should find this site; writes its address into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fake_site.json").write_text(json.dumps({"base": self.base}))
        return f"{folder}:{HERE}"

    def media(self, video: str) -> bytes:
        return self._media if isinstance(self._media, bytes) else self._media(video)

    def let_go(self, video: str) -> None:
        """The answer for ``video`` that is held goes on; so does every later one."""
        self._going.add(video)

    def is_held(self, video: str) -> bool:
        """Whether its answer waits for ``let_go``."""
        return video not in self._going and not self.closing.is_set()

    def note(self, path: str, video: str, heads: Message) -> int:
        """Writes a request down; how many there were of this path, with this one."""
        with self._lock:
            self._asked.append(Asked(time.monotonic(), path, video, heads.get("Range"), heads.get("Cookie")))
            return sum(1 for asked in self._asked if asked.path == path)

    def asked(self, part: str = "") -> list[Asked]:
        """The requests so far whose path holds ``part``."""
        with self._lock:
            return [asked for asked in self._asked if part in asked.path]


@contextmanager
def serving(media: bytes | Callable[[str], bytes]) -> Iterator[FakeSite]:
    """A site that runs while inside."""
    site = FakeSite(media)
    thread = threading.Thread(target=site.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.closing.set()
        site.shutdown()
        site.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FakeSite

    def do_GET(self) -> None:
        kind, _, rest = self.path.strip("/").partition("/")
        video = rest.partition("/")[0] if kind in ("page", "media") else ""
        count = self.server.note(self.path, video, self.headers)
        serve = {"page": self.page, "media": self.video, "list": self.list, "channel": self.channel}
        serve.get(kind, self.other)(rest, count)

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        pass

    # --- pages ---

    def page(self, video: str, count: int) -> None:
        behaviour = video.partition("-")[0]
        if behaviour == "hang":
            self.server.closing.wait(120)
        status = {"page503": 503 if count == 1 else 200, "page5xx": 503, "page404": 404, "rate": 429}
        if status.get(behaviour, 200) != 200:
            self.answer(status[behaviour], b"no")
        elif behaviour in WORDS or (behaviour == "bot1" and count == 1):
            kind, text = WORDS[behaviour.rstrip("1")]
            self.json({"raise": kind, "text": text, "expected": True})
        elif behaviour == "broken":
            self.json({"raise": "RegexNotFoundError", "text": "Unable to extract player", "expected": False})
        elif behaviour == "crash":
            self.json({"raise": "TypeError", "text": "'NoneType' object is not subscriptable"})
        else:
            self.json({"info": self.info(video, behaviour)})

    def info(self, video: str, behaviour: str) -> dict[str, Any]:
        licences = {
            "cc": "Creative Commons Attribution license (reuse allowed)",
            "std": "Standard YouTube License",
        }
        info = {
            "title": f"Video {video}",
            "channel": "Dancers",
            "uploader_id": "@dancers",
            "channel_id": "UC0123456789",
            "upload_date": "20240229",
            "duration": 36000 if behaviour == "long" else 12,
            "license": licences.get(behaviour),
            "webpage_url": WATCH + video,
            "live_status": "is_live" if behaviour == "live" else "not_live",
            "formats": [self.format(video, name) for name in OFFERED.get(behaviour, tuple(FORMATS))],
        }
        single = {
            "hls": (f"{self.server.base}/media/{video}/list.m3u8", "m3u8_native"),
            "leak": (f"{self.server.base}/media/{video}/list.m3u8", "m3u8_native"),
            "rtmp": ("rtmp://127.0.0.1/film", "rtmp"),
            "file": ("file:///etc/hostname", "file"),
        }
        if behaviour in single:
            url, protocol = single[behaviour]
            info["formats"] = [{**self.format(video, "avc-720"), "url": url, "protocol": protocol}]
        if behaviour == "evil":
            info |= {
                "title": HOSTILE,
                "display_id": "../../../x",
                "_filename": "/tmp/evil-x",
                "filepath": "/tmp/evil-y",
            }
            info |= {"filename": "/tmp/evil-z", "__finaldir": "/tmp", "fragment_base_url": "file:///etc/"}
            info["formats"] = [
                {**one, "format_id": f"../..{one['format_id']}/$(touch w)"} for one in info["formats"]
            ]
        return info

    def format(self, video: str, name: str) -> dict[str, Any]:
        height, picture, sound, suffix = FORMATS[name]
        return {
            "format_id": name,
            "url": f"{self.server.base}/media/{video}/{name}",
            "height": height,
            "width": height * 16 // 9,
            "vcodec": picture,
            "acodec": sound,
            "ext": suffix,
            "filesize_approx": 10**12,
        }

    def list(self, name: str, count: int) -> None:
        links = [watch("good", number) for number in range(int(name.removeprefix("PL-").rstrip("x")))]
        if name.endswith("x"):
            links += ["file:///etc/passwd", "ftp://a.test/b.mp4", f"http://a.test/{'x' * 10_000}"]
        self.json({"title": f"List {name}", "entries": links})

    def channel(self, name: str, count: int) -> None:
        handle, _, tab = name.partition("/")
        if not tab:
            tabs = [] if handle == "none" else ["videos", "shorts", "streams"]
            entries = [f"https://www.youtube.com/@{handle}/{one}" for one in tabs]
        elif tab == "streams":
            text = "This channel does not have a streams tab"
            self.json({"raise": "ExtractorError", "text": text, "expected": True})
            return
        else:
            first = 0 if tab == "videos" else 2
            entries = [watch("good", first + number) for number in range(3)]
        self.json({"title": f"Channel {handle}", "entries": entries})

    def other(self, rest: str, count: int) -> None:
        body = "<!doctype html><title>A dance</title>"
        if "clip.html" in self.path:
            body += f'<video src="{self.server.base}/media/{video_id("good")}/clip.mp4"></video>'
        self.answer(200, body.encode(), {"Content-Type": "text/html"})

    # --- media ---

    def video(self, rest: str, count: int) -> None:
        behaviour = rest.partition("-")[0]
        special = {
            "html": lambda: self.answer(200, b"<!DOCTYPE html><p>no", {"Content-Type": "text/html"}),
            "m403": lambda: self.answer(403, b"no"),
            "empty": lambda: self.answer(200, b""),
            "inside": lambda: self.answer(302, b"", {"Location": "http://10.0.0.1/inside"}),
            "endless": self.endless,
            "slow": self.endless,
        }
        if behaviour == "busy2" and count <= 2:
            self.answer(503, b"busy")
        elif rest.endswith("list.m3u8"):
            pieces = ["file:///etc/hostname"] if behaviour == "leak" else [f"piece{n}" for n in range(3)]
            body = "#EXTM3U\n" + "".join(f"#EXTINF:4,\n{piece}\n" for piece in pieces) + "#EXT-X-ENDLIST\n"
            self.answer(200, body.encode(), {"Content-Type": "application/vnd.apple.mpegurl"})
        elif "/piece" in rest:
            number, body = int(rest[-1]), self.server.media(rest.partition("/")[0])
            third = -(-len(body) // 3)
            self.answer(200, body[number * third : (number + 1) * third])
        elif behaviour in special:
            special[behaviour]()
        else:
            later = behaviour == "changed" and count > 1
            body = self.server.media(rest.partition("/")[0])
            self.bytes(behaviour, body[::-1] + MORE if later else body, cut=count == 1)

    def bytes(self, behaviour: str, body: bytes, cut: bool) -> None:
        start = self.start(behaviour)
        heads = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start is not None else {}
        start = start or 0
        length = None if behaviour == "nolen" else len(body) - start
        cut = (cut and behaviour == "changed") or behaviour == "short"
        first = self.headers.get("Range") is None
        end = CUT if cut or (behaviour in ("cut", "norange") and first) else len(body)
        if behaviour == "big":
            length = 1024**3
        if behaviour == "held" and first:
            self.answer(200, body[:CUT], heads, length)
            self.hold(body[CUT:])
            return
        self.answer(206 if heads else 200, body[start:end], heads, length)

    def hold(self, rest: bytes) -> None:
        """A byte now and then: nobody may take the connection for dead."""
        video = self.path.split("/")[2]
        try:
            while self.server.is_held(video) and len(rest) > 1:
                self.wfile.write(rest[:1])
                rest = rest[1:]
                time.sleep(0.1)
            self.wfile.write(rest)
        except OSError:  # the client has gone
            self.close_connection = True

    def start(self, behaviour: str) -> int | None:
        asked = self.headers.get("Range")
        return int(asked[6:].partition("-")[0]) if asked and behaviour != "norange" else None

    def endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        slow = "slow-" in self.path
        try:
            while not self.server.closing.wait(1.0 if slow else 0.001):
                self.wfile.write(b"x" if slow else b"x" * 65536)
        except OSError:  # the client has had enough
            self.close_connection = True

    # --- answers ---

    def json(self, value: dict[str, Any]) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def answer(
        self, status: int, body: bytes, heads: dict[str, str] | None = None, length: int | None = -1
    ) -> None:
        self.send_response(status)
        for name, value in (heads or {}).items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
