"""PostgreSQL for the tests: a server that is given, or one of our own."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from free_ports import free_port
from sqlalchemy import create_engine, text


def no_postgres(reason: str) -> NoReturn:
    """A missing server is a skip at home and a failure where tests are promised to run."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def find_postgres() -> Path | None:
    found = shutil.which("pg_ctl")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "pg_ctl").exists()), None)


def server_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextmanager
def a_server() -> Iterator[str]:
    """The URL of a server on which databases may be made."""
    given_url = os.environ.get("HARDPOSE_TEST_POSTGRES_URL")
    if given_url:
        yield given_url
        return
    binaries = find_postgres()
    if binaries is None:
        no_postgres("no PostgreSQL: install it, or name a server with HARDPOSE_TEST_POSTGRES_URL")
    pytest.importorskip("psycopg", reason="needs the extra hardpose[postgres]")
    folder, user = Path(tempfile.mkdtemp(prefix="hardpose-pg-")), server_user()
    (folder / "pw").write_text("a-secret-word")
    if user is not None:
        for path in (folder, folder / "pw"):
            shutil.chown(path, user)
    port = free_port()
    data = str(folder / "data")

    def call(*command: str) -> None:
        done = subprocess.run(
            command, user=user, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        assert done.returncode == 0, command

    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=60"
    auth = ("-A", "scram-sha-256", "-U", "tester", f"--pwfile={folder / 'pw'}", "-E", "UTF8", "--no-sync")
    call(str(binaries / "initdb"), "-D", data, *auth)
    start = ("-w", "-t", "200", "-o", options, "-l", str(folder / "log"), "start")
    call(str(binaries / "pg_ctl"), "-D", data, *start)
    try:
        yield f"postgresql+psycopg://tester:a-secret-word@127.0.0.1:{port}/postgres"
    finally:
        call(str(binaries / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@contextmanager
def a_database(server: str) -> Iterator[str]:
    """The URL of an empty database on ``server``, removed in the end."""
    name = f"t{secrets.token_hex(6)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{server.rpartition('/')[0]}/{name}"
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
