"""The catalog's database: engines, transactions, typed errors and migrations. SQLite or PostgreSQL by URL."""

import fcntl
import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from broker.errors import Action, DiskFull, HardposeError, MissingDependency, SettingsError

log = logging.getLogger(__name__)
T = TypeVar("T")

BUSY_SECONDS = 30
"""How long a SQLite transaction waits for another process's."""
TRIES = 6
"""Attempts of a transaction that PostgreSQL ended as a deadlock's victim."""
MIGRATION_LOCK = 4_803_170_641
"""PostgreSQL advisory lock held while migrating: any number that is only ours."""
_RETRY = {"40001", "40P01"}
"""SQLSTATE serialization_failure and deadlock_detected (PostgreSQL manual, appendix A)."""
_alembic_is_not_thread_safe = threading.Lock()


class CatalogUnavailable(HardposeError):
    """The catalog's database does not answer; trying again later may help."""

    code = "catalog_unavailable"
    action = Action.TRANSIENT


class CatalogBroken(HardposeError):
    """The catalog's database refuses a statement: not migrated, no rights, or damaged."""

    code = "catalog_broken"


class CatalogNewer(HardposeError):
    """The catalog was written by a newer release of hardpose."""

    code = "catalog_newer"


class Database:
    """Transactions on one database.

    Opens nothing until used. Safe to share between threads, to pickle (it travels as its URL) and to
    carry over a ``fork``: each process makes an engine of its own.

    Args:
        url: ``sqlite:///file`` or ``postgresql+psycopg://user:password@host/name``.

    Raises:
        SettingsError: if the URL is of neither kind.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self._engine: Engine | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["Database"], tuple[str]]:
        return type(self), (self._url.render_as_string(hide_password=False),)

    def __repr__(self) -> str:
        return f"Database({self._url.render_as_string(hide_password=True)})"

    def write(self, work: Callable[[Connection], T]) -> T:
        """Runs ``work`` in one transaction; may run it again when PostgreSQL reports a deadlock.

        Raises:
            CatalogUnavailable, CatalogBroken, DiskFull, MissingDependency: nothing was written then.
        """
        for attempt in range(TRIES):
            try:
                with (
                    self._errors(),
                    self.engine().execution_options(hardpose_write=True).begin() as connection,
                ):
                    return work(connection)
            except CatalogUnavailable as error:
                if attempt == TRIES - 1 or _sqlstate(error.__cause__) not in _RETRY:
                    raise
            # Not for secrets: the pause only keeps two victims from meeting again.
            time.sleep(random.uniform(0.01, 0.1) * (attempt + 1))  # noqa: S311
        raise AssertionError("unreachable")

    def read(self, work: Callable[[Connection], T]) -> T:
        """Runs ``work`` on one consistent snapshot.

        Raises:
            CatalogUnavailable, CatalogBroken, MissingDependency
        """
        engine = self.engine()
        if engine.dialect.name == "postgresql":
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with self._errors(), engine.begin() as connection:
            return work(connection)

    def migrate(self) -> None:
        """Brings the tables to this release. Any number of processes may call it at once.

        Raises:
            CatalogNewer: if the catalog is already newer than this release.
            CatalogUnavailable, CatalogBroken, DiskFull, MissingDependency
        """
        with _alembic_is_not_thread_safe, self._file_lock():
            if self._file is not None:
                self._set_wal()
            self.write(_upgrade)

    def dispose(self) -> None:
        """Closes this process's connections; the next use opens new ones."""
        with self._lock:
            if self._engine is not None and self._pid == os.getpid():
                self._engine.dispose()
            self._engine = None

    def engine(self) -> Engine:
        """The engine of this process.

        Raises:
            MissingDependency: if PostgreSQL's driver is not installed.
        """
        with self._lock:
            if self._engine is None or self._pid != os.getpid():
                if self._engine is not None:
                    self._engine.dispose(close=False)  # the parent's sockets stay the parent's
                self._engine, self._pid = _make_engine(self._url), os.getpid()
            return self._engine

    @property
    def _file(self) -> Path | None:
        name = self._url.database
        return Path(name) if self._url.get_backend_name() == "sqlite" and name else None

    @contextmanager
    def _file_lock(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.with_name(self._file.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _set_wal(self) -> None:
        # WAL stays with the file, so it is set once, under the lock: switching needs the file alone.
        with self._errors():
            connection = self.engine().raw_connection()
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
            finally:
                connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise _typed(error, self._url) from error
        except sqlite3.Error as error:  # of the driver itself: a file that is no database
            raise _typed(DBAPIError(None, None, error), self._url) from error
        except UnicodeEncodeError as error:  # half a character, as names of files and arguments may have
            raise SettingsError(
                f"The catalog holds no such text, it is no UTF-8: {str(error.object)[:300]!r}.",
                "Rename the file, or write the name in UTF-8.",
            ) from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SettingsError(
            "The catalog's URL cannot be read (it is not shown, it may hold a password).",
            "Set HARDPOSE_CATALOG_URL to sqlite:///file or postgresql+psycopg://user:password@host/name.",
        ) from error
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("postgresql+psycopg", "sqlite", "sqlite+pysqlite") or (
        parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")
    ):
        raise SettingsError(
            f"{parsed.render_as_string(hide_password=True)} is not a catalog that hardpose can use.",
            "Set HARDPOSE_CATALOG_URL to sqlite:///file or postgresql+psycopg://user:password@host/name.",
        )
    return parsed


def _make_engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        return create_engine(url, pool_pre_ping=True, pool_size=4, connect_args={"connect_timeout": 10})
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise MissingDependency(
            "The catalog is a PostgreSQL database, but psycopg is not installed.",
            "pip install 'hardpose[postgres]'",
        ) from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; _begin_sqlite does
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the write lock at once: a deferred transaction that starts with a read cannot wait
    # for another writer later, it fails with "database is locked" (SQLite manual, lang_transaction).
    writes = connection.get_execution_options().get("hardpose_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise CatalogNewer(
            f"The catalog has revision {current}, this release of hardpose knows up to "
            f"{scripts.get_current_head()}.",
            "Install the newer release on this machine, or use another catalog (HARDPOSE_CATALOG_URL).",
        )
    if current != scripts.get_current_head():
        log.info("catalog: migrating from %s to %s", current, scripts.get_current_head())
        command.upgrade(config, "head")


def _sqlstate(error: BaseException | None) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def _typed(error: DBAPIError, url: URL) -> HardposeError:
    """Our error for ``error``, without the statements and parameters that its own text would show."""
    first = (str(error.orig).splitlines() or ["unknown"])[0]
    place = url.render_as_string(hide_password=True)
    state = _sqlstate(error)
    if state == "53100" or "database or disk is full" in first:
        return DiskFull(f"The catalog {place} has no room left.", "Free some space there, then run again.")
    if "no such table" in first or state == "42P01":
        return CatalogBroken(
            f"The catalog {place} has no tables: {first}.",
            "The first `hardpose run` or `hardpose enqueue` makes them.",
        )
    # Class 08 and 57P are lost connections; without a state the server was never reached.
    if (
        state in _RETRY
        or state[:2] in ("08", "53")
        or state[:3] == "57P"
        or _never_reached(error, state, first)
    ):
        return CatalogUnavailable(
            f"The catalog {place} does not answer: {first}.",
            "Check that it runs and its URL; then run again.",
        )
    return CatalogBroken(
        f"The catalog {place} refuses: {first}.",
        "Check the rights on it; if it is damaged, restore it or start a new one (HARDPOSE_CATALOG_URL).",
    )


def _never_reached(error: DBAPIError, state: str, first: str) -> bool:
    if "psycopg" in type(error.orig).__module__:
        return not state and type(error.orig).__name__ in ("OperationalError", "ConnectionTimeout")
    return "locked" in first or "busy" in first
