"""Where the API of a home folder listens, so that a second command finds it instead of starting another."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

FILE = "api.url"
"""In the home folder: the address. It holds as long as its lock is held, which falls with the process."""


@contextmanager
def announced(home: Path, url: str) -> Iterator[None]:
    """Writes down that this process serves ``home`` at ``url``, and takes it back at the end.

    Nothing is written where another API serves the folder already, or where there is no folder to write to
    (the catalog may be elsewhere).
    """
    path = home / FILE
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        log.info("%s is not written: %s", path, error.strerror)
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield
            return
        file.truncate(0)
        file.write(url)
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def running(home: Path) -> str | None:
    """The URL of the API that serves ``home`` on this machine; None if none does."""
    try:
        file = (home / FILE).open(encoding="utf-8")
    except OSError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or None
    return None
