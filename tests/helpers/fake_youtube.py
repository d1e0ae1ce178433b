"""A small YouTube on 127.0.0.1: TLS with its own authority, watch pages, player answers, media, lists.

The tools meet it as they meet the real one: by name, at a public address, on port 443, through the guard
proxy. ``FakeYouTube.resolver`` gives the names public addresses; ``FakeYouTube.upstream`` is an HTTP proxy
that leads connections to those addresses to the fake, and all others nowhere. For worker processes,
``environment()`` says the same in variables.

    with FakeYouTube(folder) as site:
        site.add(Video("dQw4w9WgXcQ", body=path.read_bytes()))
        run_tool("pytubefix", site.link("dQw4w9WgXcQ"), ..., ToolOptions(upstream=site.upstream, ...))
"""

import json
import re
import socket
import ssl
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import trustme
from fake_youtube_pages import LICENCE as LICENCE  # one door for the tests
from fake_youtube_pages import MEDIA_HOST as MEDIA_HOST
from fake_youtube_pages import PLAYER_JS, playlist_page
from fake_youtube_pages import Video as Video

ADDRESSES = {"youtube.com": "142.250.1.1", "googlevideo.com": "142.250.1.2", "ytimg.com": "142.250.1.3"}
"""Public addresses that the names of a domain are given; nothing is ever sent there."""
NAMES_FOLDER = Path(__file__).parent / "offline_names"


class FakeYouTube:
    """The site, and the way to it; a context manager.

    Args:
        folder: for the certificate of its authority.
    """

    def __init__(self, folder: Path) -> None:
        self.videos: dict[str, Video] = {}
        self.playlists: dict[str, tuple[str, list[str]]] = {}
        self.asked: list[tuple[str, str]] = []
        """Host and path with query of each request, in order."""
        self.players: dict[str, int] = {}
        """How often the player was asked for each video, also for those that the site does not have."""
        self.connected: list[str] = []
        """Targets of the CONNECTs that the upstream proxy was sent."""
        self.ca_file = folder / "fake-youtube-ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        names = [name for domain in ADDRESSES for name in (domain, f"*.{domain}")]
        authority.issue_cert(*names, "youtubei.googleapis.com").configure_cert(self._tls)
        self._server = _Server(("127.0.0.1", 0), _Site)
        self._server.site = self
        self._server.tls = self._tls
        self._proxy = _Server(("127.0.0.1", 0), _Upstream)
        self._proxy.site = self

    def __enter__(self) -> "FakeYouTube":
        for server in (self._server, self._proxy):
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        for server in (self._server, self._proxy):
            server.shutdown()
            server.server_close()

    @property
    def port(self) -> int:
        """Where the site listens with TLS."""
        return self._server.server_address[1]

    @property
    def upstream(self) -> str:
        """For ``HARDPOSE_DOWNLOAD_PROXY``: leads to the fake and to 127.0.0.0/8, and nowhere else."""
        return f"http://127.0.0.1:{self._proxy.server_address[1]}"

    def add(self, video: Video) -> str:
        """Puts a video on the site; its link."""
        self.videos[video.id] = video
        return self.link(video.id)

    def link(self, name: str) -> str:
        """The page of a video."""
        return f"https://www.youtube.com/watch?v={name}"

    def environment(self) -> dict[str, str]:
        """Variables with which worker processes meet the fake instead of YouTube."""
        return {
            "HARDPOSE_DOWNLOAD_PROXY": self.upstream,
            "SSL_CERT_FILE": str(self.ca_file),
            "REQUESTS_CA_BUNDLE": str(self.ca_file),
            "PYTHONPATH": str(NAMES_FOLDER),
            "OFFLINE_NAMES": json.dumps(ADDRESSES),
        }

    @staticmethod
    def resolver(host: str, port: int) -> list[str]:
        """Addresses of the fake's names; ``OSError`` for any other."""
        for domain, address in ADDRESSES.items():
            if host == domain or host.endswith(f".{domain}"):
                return [address]
        if re.fullmatch(r"[0-9.]+", host):
            return [host]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: FakeYouTube
    tls: ssl.SSLContext | None = None

    def finish_request(self, request, client_address) -> None:
        if self.tls is not None:  # in the connection's own thread: a slow handshake holds up nobody
            request.settimeout(30)
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address) -> None:
        """Clients are cut off in these tests; that is no fault of the fake."""


class _Site(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        host, parts = self.headers["Host"], urlsplit(self.path)
        self.server.site.asked.append((host, self.path))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if host.endswith("googlevideo.com"):
            self._media(self.server.site.videos.get(query.get("id", "")), query)
        elif parts.path == "/watch" and (video := self.server.site.videos.get(query.get("v", ""))):
            self._answer(200, video.watch_page().encode(), "text/html; charset=utf-8")
        elif parts.path == "/playlist" and (found := self.server.site.playlists.get(query.get("list", ""))):
            self._answer(200, playlist_page(*found).encode(), "text/html; charset=utf-8")
        elif parts.path.endswith("/base.js"):
            self._answer(200, PLAYER_JS.encode(), "text/javascript")
        else:
            self._answer(404, b"not here", "text/plain")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.site.asked.append((self.headers["Host"], self.path))
        query = parse_qs(urlsplit(self.path).query)  # where pytube puts the id
        name = str(asked.get("videoId") or query.get("videoId", [""])[0])
        video, times = self.server.site.videos.get(name), self._players(name)
        if video is None:
            gone = Video("-" * 11, status="ERROR", reason="Video unavailable")
            self._answer(200, json.dumps(gone.player()).encode(), "application/json")
        elif times <= video.flagged:
            self._answer(429, b"{}", "application/json")
        elif video.player_http != 200:
            self._answer(video.player_http, b"{}", "application/json")
        elif video.garbage:
            self._answer(200, b"<!DOCTYPE html><html>Before you continue</html>", "text/html")
        else:
            self._answer(200, json.dumps(video.player()).encode(), "application/json")

    def _players(self, name: str) -> int:
        """How often the player was asked for the video, with this time."""
        counts = self.server.site.players
        counts[name] = counts.get(name, 0) + 1
        return counts[name]

    def _media(self, video: Video | None, query: dict[str, str]) -> None:
        if video is None or video.media == "missing":
            self._answer(404, b"", "text/plain")
        elif video.media == "refused":
            self._answer(429, b"", "text/plain")
        elif video.media == "private":
            self._answer(302, b"", "text/plain", {"Location": "http://10.0.0.1/secret.mp4"})
        else:
            self._body(video, query)

    def _body(self, video: Video, query: dict[str, str]) -> None:
        asked = query.get("range") or (self.headers.get("Range") or "")[len("bytes=") :]
        start, _, end = asked.partition("-")
        part = video.body[int(start or 0) : int(end) + 1 if end else None]
        whole = self.headers.get("Range") is None
        span = {
            "Content-Range": f"bytes {int(start or 0)}-{int(start or 0) + len(part) - 1}/{len(video.body)}"
        }
        self.send_response(200 if whole else 206)
        for name, value in ({} if whole else span).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if video.media == "cut":
            self.wfile.write(part[: (len(part) + 1) // 2])
            self.close_connection = True
        elif video.media == "empty":
            self.close_connection = True
        elif video.media == "slow":
            for byte in part:
                self.wfile.write(bytes([byte]))
                time.sleep(1)
        else:
            self.wfile.write(part)

    def _answer(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Silent: ``asked`` has it all."""


class _Upstream(BaseHTTPRequestHandler):
    """The operator's proxy: CONNECT to one of the fake's public addresses leads to the fake, to one of this
    machine's there, and to any other nowhere."""

    server: _Server

    def do_CONNECT(self) -> None:
        self.server.site.connected.append(self.path)
        host, _, port = self.path.rpartition(":")
        if self.path in {f"{address}:443" for address in ADDRESSES.values()}:
            host, port = "127.0.0.1", str(self.server.site.port)
        elif not host.startswith("127."):
            self.send_error(502, "No route")
            return
        with socket.create_connection((host, int(port)), 10) as site:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(site, self.connection), daemon=True)
            back.start()
            _pump(self.connection, site)
            back.join(30)
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Silent: ``connected`` has it all."""


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # either side may leave at any time
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
