"""The parent's end of a downloader's process: starting it, talking with it, ending it."""

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workers.downloads.errors import DownloadTimeout, ExtractionFailed
from workers.downloads.tool.child import ToolRequest
from workers.downloads.tool.result import without_secrets

log = logging.getLogger(__name__)

STDERR_LINES = 30
STDERR_BYTES = 2000
"""Kept of each line."""
MAX_WORD_BYTES = 64 * 1024**2
"""Of one word: a list of 5,000 links has about 250 KB. What is read is held in this process's memory."""
ENDING_SECONDS = 2.0
"""For a process that has closed its pipe to be gone."""
_KEPT = ("LANG", "LC_ALL", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


class Child:
    """A running child process, and what it says."""

    def __init__(self, process: "subprocess.Popen[bytes]", secret: str) -> None:
        self._process = process
        self._secret = secret
        self._words: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.last_lines: deque[str] = deque(maxlen=STDERR_LINES)
        self._readers = [
            threading.Thread(target=target, daemon=True) for target in (self._hear, self._hear_errors)
        ]
        for reader in self._readers:
            reader.start()

    def ask(self, request: ToolRequest) -> None:
        """Sends the request."""
        self._write(request.to_json())

    def say(self, word: str) -> None:
        """Sends ``go``."""
        self._write(word.encode() + b"\n")

    def next_word(self, deadline: float, allowed: float) -> dict[str, Any]:
        """What the child says next.

        Raises:
            DownloadTimeout: nothing until ``deadline``, in seconds of the monotonic clock.
            ExtractionFailed: it has ended without a last word.
        """
        try:
            word = self._words.get(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            raise DownloadTimeout(
                f"The video did not arrive within {allowed:g} s.",
                "Run the same command again later. HARDPOSE_DOWNLOAD_TIMEOUT_SECONDS sets the time.",
            ) from None
        if word is None:
            raise self._lost()
        return word

    def end(self) -> None:
        """Kills it, and all that it has started; returns when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        with contextlib.suppress(OSError):  # what was not yet written has no reader any more
            self._process.stdin.close()  # type: ignore[union-attr]
        for line in self.last_lines:
            log.debug("%s", line)

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:  # it has ended: its last word, or that there is none, tells why
            log.debug("the downloader's process no longer listens")

    def _lost(self) -> ExtractionFailed:
        end = time.monotonic() + ENDING_SECONDS  # its own way of ending tells more than being killed
        while not self._has_ended() and time.monotonic() < end:
            time.sleep(0.01)
        self.end()
        code = self._process.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        last = self.last_lines[-1] if self.last_lines else "it said nothing"
        return ExtractionFailed(
            f"The downloader's process {how}: {last}.", "Look into the log; update the downloader."
        )

    def _has_ended(self) -> bool:
        # It is left unburied: until then nobody else can have its number, and with that its group's.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _hear(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as pipe:
                while line := pipe.readline(MAX_WORD_BYTES):
                    self._words.put(json.loads(line))
        except ValueError as error:
            self.last_lines.append(f"it said what is no JSON: {error}")
        finally:
            self._words.put(None)

    def _hear_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as pipe:
            while line := pipe.readline(STDERR_BYTES):
                text = line.decode("utf-8", "replace").rstrip()
                self.last_lines.append(without_secrets(text.replace(self._secret, "***")))


@contextmanager
def child_process(home: Path, proxy: str) -> Iterator[Child]:
    """A child that runs while inside, and not a moment longer.

    Args:
        home: its working folder; ``home`` in it is where it finds its HOME.
        proxy: the guard proxy's address; its password is kept out of the log.
    """
    # -P: a folder that the user works in may hold a module of the name of ours.
    line = [sys.executable, "-P", "-m", "workers.downloads.tool.child"]
    process = subprocess.Popen(  # noqa: S603 - our own program, a list of arguments, no shell
        line,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home,
        env=_environment(home / "home"),
        start_new_session=True,
    )
    child = Child(process, proxy.rpartition("@")[0].rpartition(":")[2])
    try:
        yield child
    finally:
        child.end()


def _environment(home: Path) -> dict[str, str]:
    """All that the child may know of ours. Named one by one: settings and secrets are variables too."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    scripts = sysconfig.get_path("scripts")
    folders = dict.fromkeys(
        ("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), str(home)
    )
    path = os.pathsep.join((scripts, os.environ.get("PATH", os.defpath)))
    return {**kept, **folders, "PATH": path, "DENO_NO_UPDATE_CHECK": "1"}
