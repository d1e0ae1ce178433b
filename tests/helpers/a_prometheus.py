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
from s3_server import free_port

CONFIG = """
global: {{ scrape_interval: 500ms, scrape_timeout: 400ms }}
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

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an instant query finds now; an expression that cannot be read fails the test."""
        return self._get("query", {"query": expression})["result"]  # type: ignore[no-any-return]

    def series(self, selector: str) -> list[dict[str, str]]:
        """The labels of the series that a selector chooses."""
        found: list[dict[str, str]] = self._get("series", {"match[]": selector})
        return found

    def _get(self, what: str, asked: dict[str, str]) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]


@contextmanager
def a_prometheus(folder: Path, text: bytes, scrapes: int = 3) -> Iterator[Asked]:
    """Starts one that has read ``text`` ``scrapes`` times; ends it."""
    program = _program("prometheus")
    with _served(text) as (port, asked):
        config, own = folder / "prometheus.yml", free_port()
        config.write_text(CONFIG.format(port=port))
        line = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        with (folder / "log").open("wb") as log:
            line.append(f"--web.listen-address=127.0.0.1:{own}")
            server = subprocess.Popen(line, stdout=log, stderr=log, cwd=folder)
        try:
            deadline = time.monotonic() + 60
            while len(asked) <= scrapes:  # the last but one is stored by the time of the last
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield Asked(f"http://127.0.0.1:{own}")
        finally:
            server.terminate()
            server.wait(30)


@contextmanager
def _served(text: bytes) -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
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
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
