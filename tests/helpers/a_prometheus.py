"""A real Prometheus that scrapes a given text from 127.0.0.1, for a test."""

import http.server
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port

START_SECONDS = 120
CONFIG = """
global: {{ scrape_interval: 500ms, scrape_timeout: 500ms }}
scrape_configs:
  - job_name: test
    static_configs: [{{ targets: ["127.0.0.1:{port}"] }}]
"""


def promtool() -> str:
    """The program, of the same package; see ``a_prometheus``."""
    return _program("promtool")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        reason = f"no {name}: install Debian's package prometheus"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return str(found)


class Asked:
    """Answers of a server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._when: dict[str, str] = {}

    def has_read(self, times: int) -> bool:
        """Whether it has read the text so often.

        All queries from then on are about that moment: a scrape that comes too late, on a busy machine, hides
        for a while what the earlier ones have read.
        """
        read = self.query(f"timestamp(up == 1) and sum_over_time(up[1h]) >= {times}")
        self._when = {"time": read[0]["value"][1]} if read else {}
        return bool(read)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an instant query finds; an expression that cannot be read fails the test."""
        return self._get("query", {"query": expression, **self._when})["result"]  # type: ignore[no-any-return]

    def series(self, selector: str) -> list[dict[str, str]]:
        """The labels of the series that a selector chooses."""
        found: list[dict[str, str]] = self._get("series", {"match[]": selector})
        return found

    def _get(self, what: str, asked: dict[str, str]) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)["data"]


@contextmanager
def a_prometheus(folder: Path, text: bytes, scrapes: int = 3) -> Iterator[Asked]:
    """Starts one that has read ``text`` ``scrapes`` times; ends it."""
    program = _program("prometheus")
    with _served(text) as port:
        config, own = folder / "prometheus.yml", free_port()
        config.write_text(CONFIG.format(port=port))
        line = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        with (folder / "log").open("wb") as log:
            line.append(f"--web.listen-address=127.0.0.1:{own}")
            server = subprocess.Popen(line, stdout=log, stderr=log, cwd=folder)
        try:
            prometheus, deadline = Asked(f"http://127.0.0.1:{own}"), time.monotonic() + START_SECONDS
            while not _ready(prometheus, scrapes):
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield prometheus
        finally:
            server.kill()
            server.wait()


def _ready(prometheus: Asked, scrapes: int) -> bool:
    try:
        return prometheus.has_read(scrapes)
    except OSError:  # it does not listen yet, or still reads its own files
        return False


@contextmanager
def _served(text: bytes) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
