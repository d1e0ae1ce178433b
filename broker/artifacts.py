"""Pixels and results by key: a folder, S3, GCS, Azure or memory. The only file that imports obstore."""

import errno
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions as obe
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from broker.errors import Action, ArtifactMissing, DiskFull, HardposeError, SettingsError
from broker.local_copies import LocalCopies
from broker.settings import Settings

log = logging.getLogger(__name__)

RANGE_BYTES = 16 * 1024 * 1024
"""Bytes asked for at once when a remote artifact is copied: bounds memory, and each request stays short."""
PIECE_BYTES = 1024 * 1024
"""Bytes in memory at a time for each reader of ``pieces``."""
UPLOADS_AT_ONCE = 4
"""Parts of 5 MiB in flight while a file is uploaded, so about 20 MiB of memory."""
RETRY_SECONDS = 60
"""How long obstore itself repeats a failing request before the error is ours."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_runtime_pid: int | None = None


class ArtifactKeyError(HardposeError):
    """A key that could leave the store, or that not every store can hold."""

    code = "bad_artifact_key"


class ArtifactsForbidden(HardposeError):
    """The artifact store refuses what was asked with these credentials."""

    code = "artifacts_forbidden"


class ArtifactsUnreachable(HardposeError):
    """The artifact store does not answer, or fails; trying again later may help."""

    code = "artifacts_unreachable"
    action = Action.TRANSIENT


@dataclass(frozen=True)
class Keys:
    """What an S3 server knows its user by."""

    key_id: str = field(repr=False)
    secret_key: str = field(repr=False)


def check_key(key: str) -> str:
    """Returns ``key`` if every store can hold it.

    Raises:
        ArtifactKeyError: if it is absolute, has empty, ``.`` or ``..`` parts, a backslash, ``#``
            (obstore's mark of a file being written), ``%`` or a control character.
    """
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\\#%\x00-\x1f\x7f]", key):
        raise ArtifactKeyError(
            f"{key!r} cannot be the key of an artifact.",
            "Use a relative key: names joined by '/', without '..', '#', '%' or backslashes.",
        )
    return key


class Artifacts:
    """An artifact store.

    Safe to share between threads and to pickle (it travels as its URL and its keys). After a ``fork`` of a
    process that has used any store, obstore's own threads are missing in the child and calls would hang
    for ever: they are refused with a RuntimeError instead. Use it in the child only, or start children
    with ``spawn``.

    Args:
        url: ``file:///folder`` or a plain path, ``s3://bucket/prefix``, ``gs://``, ``az://`` or ``memory:///``
            (gone with this object). Addresses and credentials of remote stores come from the environment
            that obstore reads (``AWS_ENDPOINT``, ``AWS_ACCESS_KEY_ID`` and so on).
        temp_dir: where copies of remote artifacts lie; the system's default without it.
        keys: of ``s3://``, before those in the environment.

    Raises:
        SettingsError: if the URL does not name a store, or its folder cannot be made.
    """

    def __init__(self, url: str, temp_dir: Path | None = None, keys: Keys | None = None) -> None:
        self.url = url
        self._temp_dir = temp_dir
        self._keys = keys
        self._folder = _folder_of(url)
        self._store = _open(url, self._folder, keys)
        self._copies = LocalCopies(temp_dir)

    @classmethod
    def of(cls, settings: Settings) -> "Artifacts":
        """The store that ``settings`` name.

        Raises:
            SettingsError: it cannot be opened.
        """
        key_id, secret_key = settings.artifacts_key_id, settings.artifacts_secret_key
        if key_id is None or secret_key is None:  # neither is: settings take both or none
            return cls(settings.artifacts, settings.temp_dir)
        keys = Keys(key_id.get_secret_value(), secret_key.get_secret_value())
        return cls(settings.artifacts, settings.temp_dir, keys)

    @property
    def remote(self) -> bool:
        """Whether each request waits for a network; a folder and memory answer at once."""
        return self._folder is None and not isinstance(self._store, MemoryStore)

    def __reduce__(self) -> tuple[type["Artifacts"], tuple[str, Path | None, Keys | None]]:
        return type(self), (self.url, self._temp_dir, self._keys)

    def put(self, key: str, data: bytes) -> None:
        """Writes ``data`` under ``key``, whole or not at all; doing it twice leaves the same bytes.

        Raises:
            ArtifactKeyError, DiskFull, ArtifactsForbidden, ArtifactsUnreachable
        """
        with self._guard(check_key(key)):
            obstore.put(self._store, key, data, max_concurrency=UPLOADS_AT_ONCE)

    def put_file(self, key: str, path: Path) -> None:
        """Writes the file at ``path`` under ``key``, whole or not at all, without reading it into memory.

        Raises:
            FileNotFoundError: if there is no file at ``path``.
            ArtifactKeyError, DiskFull, ArtifactsForbidden, ArtifactsUnreachable
        """
        with path.open("rb") as file, self._guard(check_key(key)):
            obstore.put(self._store, key, file, max_concurrency=UPLOADS_AT_ONCE)

    def get(self, key: str) -> bytes:
        """The bytes under ``key``.

        Raises:
            ArtifactMissing: if there are none.
            ArtifactKeyError, ArtifactsForbidden, ArtifactsUnreachable
        """
        with self._guard(check_key(key)):
            return bytes(obstore.get(self._store, key).bytes())

    def exists(self, key: str) -> bool:
        """Whether there is something under ``key``."""
        try:
            self._size(key)
        except ArtifactMissing:
            return False
        return True

    def size(self, key: str) -> int:
        """How many bytes are under ``key``.

        Raises:
            ArtifactMissing, ArtifactKeyError, ArtifactsForbidden, ArtifactsUnreachable
        """
        return self._size(key)

    def pieces(self, key: str, start: int, end: int, step: int = PIECE_BYTES) -> Iterator[bytes]:
        """The bytes from ``start`` up to ``end`` (left out), in pieces of ``step``, each asked for in turn.

        For what is too large for memory. The key is checked at once, the artifact with the first piece.

        Raises:
            ArtifactMissing: if there is nothing under ``key``.
            ArtifactsUnreachable: the store fails, or holds fewer than ``end`` bytes.
            ArtifactKeyError, ArtifactsForbidden
        """
        return self._pieces(check_key(key), start, end, step)

    def _pieces(self, key: str, start: int, end: int, step: int) -> Iterator[bytes]:
        for begin in range(start, end, step):
            wanted = min(step, end - begin)
            with self._guard(key):
                piece = bytes(obstore.get_range(self._store, key, start=begin, length=wanted))
            if len(piece) != wanted:
                raise ArtifactsUnreachable(
                    f"The artifact {key!r} ends before byte {begin + wanted}.", "Ask for it from its start."
                )
            yield piece

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        """A file with the artifact's bytes, to be read only, valid inside the ``with``.

        A folder store gives its own file; any other a temporary copy, of which the last few are kept
        for the next caller in this process and removed at its end.

        Raises:
            ArtifactMissing, ArtifactKeyError, DiskFull, ArtifactsForbidden, ArtifactsUnreachable
        """
        size = self._size(key)
        if self._folder is not None:
            yield self._folder / key
            return
        with self._copies.use(key, lambda path: self._copy(key, size, path)) as path:
            yield path

    def delete(self, key: str) -> None:
        """Removes ``key``; nothing happens if it is not there."""
        with self._guard(check_key(key)):
            self._remove([key])

    def delete_prefix(self, prefix: str) -> int:
        """Removes everything under the folder ``prefix`` and says how many artifacts that were."""
        found = self.keys(prefix)
        with self._guard(prefix):
            self._remove(found)
        return len(found)

    def prune(self, prefix: str) -> None:
        """Removes the directory that an emptied folder leaves in a folder store; nothing elsewhere."""
        if self._folder is not None:
            try:
                (self._folder / check_key(prefix.rstrip("/"))).rmdir()
            except OSError as error:
                log.debug("the directory of %s stays: %s", prefix, error.strerror)

    def keys(self, prefix: str = "") -> list[str]:
        """All keys under the folder ``prefix`` (``a/b`` holds ``a/b/c``, not ``a/bc``), sorted."""
        folder = check_key(prefix.rstrip("/")) if prefix else None
        with self._guard(prefix):
            return sorted(meta["path"] for page in obstore.list(self._store, folder) for meta in page)

    def _size(self, key: str) -> int:
        with self._guard(check_key(key)):
            return int(obstore.head(self._store, key)["size"])

    def _remove(self, keys: list[str]) -> None:
        for key in keys:
            self._copies.forget(key)
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:  # gone is what was asked for
                continue

    def _copy(self, key: str, size: int, path: Path) -> None:
        with path.open("wb") as file:
            for start in range(0, size, RANGE_BYTES):
                end = min(start + RANGE_BYTES, size)
                with self._guard(key):
                    part = obstore.get_range(self._store, key, start=start, end=end)
                with self._guard(key, place=str(path.parent)):
                    file.write(part)

    @contextmanager
    def _guard(self, key: str, place: str = "") -> Iterator[None]:
        """Turns obstore's and the system's errors into ours; refuses to run in a forked child."""
        _refuse_after_fork()
        try:
            yield
        except (obe.BaseError, OSError) as error:
            raise _typed(error, key, place or _without_secrets(self.url)) from error


def _refuse_after_fork() -> None:
    global _runtime_pid
    if _runtime_pid is None:
        _runtime_pid = os.getpid()
    if _runtime_pid != os.getpid():
        raise RuntimeError(
            f"The artifact store was used by process {_runtime_pid} before it forked this one; "
            "obstore would hang here. Start child processes with 'spawn'."
        )


def _folder_of(url: str) -> Path | None:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).absolute()
    return None if "://" in url else Path(url).absolute()


def _open(url: str, folder: Path | None, keys: Keys | None) -> ObjectStore:
    try:
        if folder is not None:
            return LocalStore(folder, mkdir=True)
        if url.startswith("memory:"):
            return MemoryStore()
        retry: Any = {"retry_timeout": timedelta(seconds=RETRY_SECONDS)}
        own: Any = {}
        if keys is not None and url.startswith(("s3:", "s3a:")):  # another store does not know these options
            own = {"access_key_id": keys.key_id, "secret_access_key": keys.secret_key}
        return from_url(url, retry_config=retry, **own)
    except (obe.BaseError, OSError, ValueError) as error:
        raise SettingsError(
            f"The artifact store {_without_secrets(url)} cannot be opened: {_first_line(error)}",
            "Set HARDPOSE_ARTIFACTS_URL to s3://bucket/prefix, gs://, az:// or file:///folder.",
        ) from error


def _typed(error: BaseException, key: str, store: str) -> HardposeError:
    text = f"{_first_line(error)} (key {key!r} in {store})"
    if _system_code(error) in _NO_ROOM:
        return DiskFull(
            f"The artifact store has no room left: {text}.",
            "Free some space there, raise the quota, or set HARDPOSE_ARTIFACTS_URL; then run again: "
            "what is done stays done.",
        )
    if isinstance(error, FileNotFoundError):
        return ArtifactMissing(
            f"There is no artifact {key!r} in {store}.",
            "Check that all workers use the same store and bucket. If it was deleted, remove the job with "
            "`hardpose delete JOB` and run it again.",
        )
    if isinstance(error, PermissionError | obe.PermissionDeniedError | obe.UnauthenticatedError):
        return ArtifactsForbidden(
            f"The artifact store refuses access: {text}.", "Check its credentials and the rights on it."
        )
    return ArtifactsUnreachable(
        f"The artifact store failed: {text}.", "Check its address and that it runs; then run again."
    )


def _system_code(error: BaseException) -> int | None:
    """The errno of ``error``; obstore keeps it only in the text, as ``(os error 28)``."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found.group(1)) if found else None


def _first_line(error: BaseException) -> str:
    """The error's first line; obstore appends a debug dump, and a query in a URL may hold a token."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"\?[^\s)]*", "?...", line).rstrip(".")


def _without_secrets(url: str) -> str:
    """``url`` without user, password and query."""
    return re.sub(r"//[^/@]*@", "//", url.split("?", 1)[0])
