"""A real HTTP server on 127.0.0.1 with well and badly behaved addresses; counts what it is asked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = bytes(range(256)) * 2048
"""512 KiB that differ at every offset of a page."""
CUT = 100_000
"""Bytes after which the cutting addresses close the connection."""
PART = 50_000
"""Most bytes that some addresses give in one range answer."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.asked.append((path, self.headers.get("Range"), self.headers.get("Host")))
        number = sum(1 for asked in self.server.asked if asked[0] == path)
        getattr(self, "serve_" + path.strip("/").replace(".", "_").replace("-", "_"), self.serve_missing)(
            number
        )

    def log_message(self, *args):
        pass

    # --- well behaved ---

    def serve_range_mp4(self, number):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.answer(206 if start else 200, BODY[start:], {"ETag": '"v1"', **self.continued(start)})

    def serve_plain_mp4(self, number):
        self.answer(200, BODY)

    def serve_no_length_mp4(self, number):
        self.answer(200, BODY, length=None)

    def serve_busy_mp4(self, number):
        self.answer(503 if number < 3 else 200, b"" if number < 3 else BODY)

    # --- cut ---

    def serve_cut_mp4(self, number):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        matches = self.headers.get("If-Range") == '"v1"'
        start = start if matches else 0
        head = {"ETag": '"v1"', **self.continued(start)}
        self.answer(206 if start else 200, BODY[start : start + CUT], head, length=len(BODY) - start)

    def serve_small_parts_mp4(self, number):
        # 200 and a cut at first; then a 206 that gives less than was asked for, as RFC 9110 allows.
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        end = min(start + PART, len(BODY))
        if not start:
            self.answer(200, BODY[:CUT], {"ETag": '"v1"'}, length=len(BODY))
        else:
            head = {"ETag": '"v1"', "Content-Range": f"bytes {start}-{end - 1}/{len(BODY)}"}
            self.answer(206, BODY[start:end], head)

    def serve_first_part_mp4(self, number):
        # Nobody asked for a part, and without a tag the parts cannot be joined.
        self.answer(206, BODY[:PART], {"Content-Range": f"bytes 0-{PART - 1}/{len(BODY)}"})

    def serve_unknown_total_mp4(self, number):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if not start:
            self.answer(200, BODY[: CUT if number < 3 else None], {"ETag": '"v1"'}, length=len(BODY))
        else:
            end = min(start + PART, len(BODY))
            self.answer(206, BODY[start:end], {"ETag": '"v1"', "Content-Range": f"bytes {start}-{end - 1}/*"})

    def serve_cut_no_range_mp4(self, number):
        self.answer(200, BODY[: CUT if number < 3 else None], {"ETag": '"v1"'}, length=len(BODY))

    def serve_changed_mp4(self, number):
        # The file is replaced between the two connections: If-Range must notice.
        body, tag = (BODY, '"v1"') if number == 1 else (BODY[::-1], '"v2"')
        self.answer(200, body[: CUT if number == 1 else None], {"ETag": tag}, length=len(body))

    def serve_always_cut_mp4(self, number):
        self.answer(200, b"", length=len(BODY))

    # --- badly behaved ---

    def serve_html_mp4(self, number):
        self.answer(200, b"<html>log in</html>", {"Content-Type": "text/html; charset=utf-8"})

    def serve_empty_mp4(self, number):
        self.answer(200, b"")

    def serve_endless_mp4(self, number):
        self.answer(200, b"", length=None)
        try:
            while True:
                self.wfile.write(bytes(65536))
        except OSError:
            return

    def serve_slow_mp4(self, number):
        self.answer(200, b"", length=None)
        try:
            while not self.server.stopping.wait(0.05):
                self.wfile.write(b"x")
        except OSError:
            return

    def serve_gone_mp4(self, number):
        self.answer(410)

    def serve_secret_mp4(self, number):
        self.answer(403)

    def serve_limited_mp4(self, number):
        self.answer(429)

    def serve_broken_mp4(self, number):
        self.answer(500)

    def serve_missing(self, number):
        self.answer(404)

    # --- redirects ---

    def serve_moved_mp4(self, number):
        self.answer(302, head={"Location": "/range.mp4"})

    def serve_loop_mp4(self, number):
        self.answer(302, head={"Location": "/loop.mp4"})

    def serve_inside_mp4(self, number):
        self.answer(302, head={"Location": "http://10.0.0.1/admin"})

    def serve_to_file_mp4(self, number):
        self.answer(302, head={"Location": "file:///etc/passwd"})

    def serve_lost_mp4(self, number):
        self.answer(302, head={"Location": "http://[::1/token=hunter2"})

    def serve_to_name_mp4(self, number):
        self.answer(302, head={"Location": f"http://rebound.example:{self.server.server_port}/range.mp4"})

    # --- helpers ---

    def continued(self, start):
        return {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"} if start else {}

    def answer(self, status, body=b"", head=None, length=-1):
        self.send_response(status)
        for name, value in (head or {}).items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.stopping = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def count(self, path: str) -> int:
        return sum(1 for asked in self.asked if asked[0] == f"/{path}")


@contextmanager
def running() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
