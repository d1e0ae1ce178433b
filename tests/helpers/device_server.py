"""A device's HTTP server on 127.0.0.1 with well and badly behaved addresses.

``/good`` answers with the picture's red channel, so that an answer shows which picture it belongs to.
"""

import gzip
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, cycle

import numpy as np
from PIL import Image

from workers.pictures import decode_rgb, encode_jpeg, encode_png

TOKEN = "tell-nobody-0123456789"
BOOTING = 3
"""Requests that ``/booting`` answers with 404, before it answers as ``/good`` does."""


def picture(mode, size=(8, 6)):
    file = io.BytesIO()
    Image.new(mode, size).save(file, "PNG")
    return file.getvalue()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.seen.append((self.client_address, dict(self.headers), body))
            number = len(self.server.seen)
        self.red = encode_png(np.ascontiguousarray(decode_rgb(body)[:, :, 0]))
        try:
            getattr(self, "serve_" + self.path.strip("/").replace("-", "_"))(number)
        except OSError:
            self.close_connection = True

    def log_message(self, *args):
        pass

    def serve_good(self, number):
        self.answer(200, self.red)

    def serve_late_if_red_is_50(self, number):
        if decode_rgb(self.red).max() != 50:
            self.answer(200, self.red)
            return
        self.server.late.wait(600)
        try:
            self.answer(200, self.red)
        finally:  # nobody may be there any more
            self.server.answered_late.set()

    def serve_drip(self, number):
        self.answer(200, b"", length=10_000)
        self.drip(cycle(self.red))

    def serve_drip_head(self, number):
        self.drip(chain(b"HTTP/1.1 200 OK\r\n", cycle(b"X-More: more\r\n")))

    def drip(self, data):
        """Without an end, and never silent."""
        for byte in data:
            self.wfile.write(bytes([byte]))
            if self.server.stopping.wait(0.05):
                return

    def serve_wrong_size(self, number):
        self.answer(200, picture("L", (9, 6)))

    def serve_truncated(self, number):
        self.answer(200, self.red[:-24])

    def serve_cut(self, number):
        self.answer(200, self.red[:30], length=len(self.red))
        self.close_connection = True

    def serve_empty(self, number):
        self.answer(200, b"")

    def serve_page(self, number):
        self.answer(200, b"<html>\x1b[31mlog in</html>")

    def serve_colours(self, number):
        self.answer(200, picture("RGB"))

    def serve_sixteen_bits(self, number):
        self.answer(200, picture("I;16"))

    def serve_palette(self, number):
        self.answer(200, picture("P"))

    def serve_huge_picture(self, number):
        self.answer(200, picture("L", (3000, 3000)))

    def serve_endless(self, number):
        self.answer(200, b"", length=10**12)
        while not self.server.stopping.is_set():
            self.wfile.write(bytes(65536))

    def serve_gzip(self, number):
        self.answer(200, gzip.compress(bytes(10**7)), {"Content-Encoding": "gzip"})

    def serve_labels(self, number):
        self.answer(200, encode_png(np.where(decode_rgb(self.red)[:, :, 0] > 99, 15, 2).astype(np.uint8)))

    def serve_four_bits(self, number):
        rows = b"".join(b"\0" + b"\x11\x11\xff\xff" for _ in range(6))
        head = struct.pack(">IIBBBBB", 8, 6, 4, 0, 0, 0, 0)
        chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
        self.answer(200, b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in chunks))

    def serve_one_bit(self, number):
        self.answer(200, picture("1"))

    def serve_jpeg(self, number):
        self.answer(200, encode_jpeg(np.full((6, 8), 15, np.uint8)))

    def serve_vanish(self, number):
        self.close_connection = True

    def serve_crash(self, number):
        self.answer(500, b"Traceback \x1b]0;mine\x07 in line 7: " + b"x" * 5000)

    def serve_forbidden(self, number):
        self.answer(403, f"the token {TOKEN} is not known".encode())

    def serve_token(self, number):
        fits = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        self.answer(200 if fits else 401, self.red if fits else b"")

    def serve_moved(self, number):
        self.answer(302, head={"Location": "/good"})

    def serve_booting(self, number):
        self.answer(*((404,) if number <= BOOTING else (200, self.red)))

    def serve_nothing_there(self, number):
        self.answer(404)

    def serve_not_now(self, number):
        self.answer(503, b"booting", {"Retry-After": "5"})

    def serve_one_at_a_time(self, number):
        free = self.server.busy.acquire(blocking=False)
        if free:
            self.server.refused.wait(60)  # the first time it is busy until somebody has come too early
            self.server.busy.release()
        else:
            self.server.refused.set()
        self.answer(200 if free else 503, self.red if free else b"", {"Retry-After": "1"})

    def answer(self, status, body=b"", head=None, length=None):
        self.send_response(status)
        for name, value in (head or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, tls=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.lock, self.busy = [], threading.Lock(), threading.Lock()
        self.stopping, self._tls = threading.Event(), tls
        self.late, self.answered_late, self.refused = (threading.Event() for _ in range(3))
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def url(self, path: str) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, request, client_address):
        pass


@contextmanager
def running(tls=None) -> Iterator[Server]:
    server = Server(tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
