"""Where the API of a home folder listens, so that a second command finds it instead of starting another."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

log = logging.getLogger(__name__)

FILE = "api.json"
"""In the home folder while an API serves it: its ``url``, and its process by ``pid`` and ``began`` (Unix
seconds)."""


@contextmanager
def announced(home: Path, url: str) -> Iterator[None]:
    """Writes down that this process serves ``home`` at ``url``, and takes it back at the end.

    A home folder that does not exist, or takes no files (the catalog may be elsewhere), is not written to.
    """
    path = home / FILE
    me = psutil.Process()
    try:
        path.write_text(json.dumps({"url": url, "pid": me.pid, "began": me.create_time()}), encoding="utf-8")
    except OSError as error:
        log.info("%s is not written: %s", path, error.strerror)
        yield
        return
    try:
        yield
    finally:
        if _said(path).get("pid") == os.getpid():
            path.unlink(missing_ok=True)


def running(home: Path) -> str | None:
    """The URL of the API that serves ``home`` on this machine; None if none does."""
    said = _said(home / FILE)
    try:
        began = psutil.Process(int(said["pid"])).create_time()
    except (KeyError, TypeError, ValueError, psutil.Error):
        return None
    return str(said["url"]) if began == said.get("began") and "url" in said else None


def _said(path: Path) -> dict[str, Any]:
    """What the file says; nothing if there is none, or if it was not written to its end."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
