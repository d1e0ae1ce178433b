"""Real Redis servers for the tests, with and without TLS, and a group of two under three Sentinels.

All on 127.0.0.1 and random ports, with passwords; nothing of them stays.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest
import redis
import trustme
from free_ports import free_port

PASSWORD = "of-the-redis-0123456789"
SENTINEL_PASSWORD = "of-the-sentinels-0123456789"
SERVICE = "hardpose-main"
AUTHORITY = trustme.CA()
PATIENCE_MS = 60_000
IMPATIENCE_MS = 1000
"""For which a master may be silent before its Sentinels take it for lost: as a rule, and when it is."""


def find_program(name: str) -> str:
    """Missing, it is a skip at home and a failure where tests are promised to run."""
    found = shutil.which(name)
    if found is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"no {name}: install it to run this")
    return found


def until(true: Callable[[], bool], what: str, seconds: float = 150) -> None:
    """Waits for it; on a machine that is busy with other tests everything takes longer."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)


class Server:
    """A process that reads a file of settings; it runs inside its ``with``.

    Args:
        program: ``redis-server`` or ``redis-sentinel``.
        folder: its own, made here.
        settings: lines beside the port's.
        tls: it speaks nothing else, with a certificate for 127.0.0.1.
    """

    def __init__(self, program: str, folder: Path, settings: str, tls: bool = False) -> None:
        self.program, self.folder, self.tls = find_program(program), folder, tls
        self.port = free_port()
        folder.mkdir(parents=True)
        place = f"port 0\ntls-port {self.port}\n" if tls else f"port {self.port}\n"
        if tls:
            place += _certificate(folder)
        (folder / "conf").write_text(f"{place}bind 127.0.0.1\ndir {folder}\nlogfile {folder}/log\n{settings}")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it takes connections."""
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen([self.program, str(self.folder / "conf")], stdout=quiet, stderr=quiet)
        until(self._listens, f"a {Path(self.program).name} that listens")

    def kill(self) -> None:
        """As a power cut does it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def client(self, password: str | None = PASSWORD) -> "redis.Redis":
        tls = {"ssl": True, "ssl_ca_certs": str(self.folder / "ca.pem")} if self.tls else {}
        return redis.Redis("127.0.0.1", self.port, password=password, decode_responses=True, **tls)


def redis_server(folder: Path, settings: str = "", tls: bool = False) -> Server:
    """With ``PASSWORD``, and nothing on disk."""
    return Server("redis-server", folder, f'requirepass {PASSWORD}\nsave ""\n{settings}', tls)


def url_of(server: Server, database: int = 0) -> str:
    return f"{'rediss' if server.tls else 'redis'}://:{PASSWORD}@127.0.0.1:{server.port}/{database}"


def _certificate(folder: Path) -> str:
    AUTHORITY.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    AUTHORITY.cert_pem.write_to_path(str(folder / "ca.pem"))
    return (
        f"tls-cert-file {folder}/server.pem\ntls-key-file {folder}/server.pem\n"
        f"tls-ca-cert-file {folder}/ca.pem\ntls-auth-clients no\ntls-replication yes\n"
    )


class SentinelGroup:
    """Two Redis servers, of which one is the master, and three Sentinels, of which two must agree.

    Args:
        folder: for all their files.
        tls: all of them speak it, and nothing else.
        sentinel_password: of the Sentinels, if they have one.
    """

    def __init__(self, folder: Path, tls: bool = False, sentinel_password: str = SENTINEL_PASSWORD) -> None:
        self.folder, self.tls, self.sentinel_password = folder, tls, sentinel_password
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            replicate = f"masterauth {PASSWORD}\nrepl-diskless-sync-delay 0\n"
            first = stack.enter_context(redis_server(self.folder / "redis-0", replicate, self.tls))
            follow = f"{replicate}replicaof 127.0.0.1 {first.port}\n"
            second = stack.enter_context(redis_server(self.folder / "redis-1", follow, self.tls))
            self.servers = [first, second]
            until(self._replicated, "a replica that follows")
            self.sentinels = [stack.enter_context(self._sentinel(n, first.port)) for n in range(3)]
            until(self._complete, "Sentinels that know each other and the replica")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _sentinel(self, number: int, master: int) -> Server:
        """It looks at the master every second, and gives it a minute to answer: on a busy machine nobody is
        replaced who only stood still; see ``lose_master``."""
        words = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {master} 2",
            f"sentinel auth-pass {SERVICE} {PASSWORD}",
            f"sentinel down-after-milliseconds {SERVICE} {PATIENCE_MS}",
            f"sentinel failover-timeout {SERVICE} 10000",
        ]
        if self.sentinel_password:
            words += [
                f"requirepass {self.sentinel_password}",
                f"sentinel sentinel-pass {self.sentinel_password}",
            ]
        return Server("redis-sentinel", self.folder / f"sentinel-{number}", "\n".join(words) + "\n", self.tls)

    def _replicated(self) -> bool:
        return self.servers[1].client().info("replication").get("master_link_status") == "up"

    def _complete(self) -> bool:
        states = [self.state(n) for n in range(len(self.sentinels))]
        return all(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1 for state in states)

    def state(self, number: int = 0) -> dict[str, object]:
        """What a Sentinel knows of the master."""
        client = self.sentinels[number].client(self.sentinel_password or None)
        return dict(client.sentinel_masters()[SERVICE])  # type: ignore[call-overload]

    @property
    def master(self) -> Server:
        """The server that is the master, as the Sentinels say."""
        running = next(n for n, sentinel in enumerate(self.sentinels) if sentinel.process is not None)
        port = self.state(running)["port"]
        return next(server for server in self.servers if server.port == port)

    def lose_master(self) -> Server:
        """Kills the master, and has its Sentinels notice soon; returns it."""
        lost = self.master
        lost.kill()
        self._patience(IMPATIENCE_MS)
        return lost

    def replaced(self, lost: Server) -> None:
        """Returns when another one is the master, and its Sentinels are patient with it."""
        until(lambda: self.master is not lost, "a new master")
        self._patience(PATIENCE_MS)

    def _patience(self, milliseconds: int) -> None:
        for sentinel in self.sentinels:
            if sentinel.process is not None:
                client = sentinel.client(self.sentinel_password or None)
                client.sentinel_set(SERVICE, "down-after-milliseconds", milliseconds)  # type: ignore[no-untyped-call]

    def url(
        self, database: int = 0, password: str = PASSWORD, service: str = SERVICE, greeting: str | None = None
    ) -> str:
        """Of the group; ``greeting`` is the Sentinels' password that is told, in place of the right one."""
        scheme = "rediss+sentinel" if self.tls else "redis+sentinel"
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        told = self.sentinel_password if greeting is None else greeting
        return f"{scheme}://:{password}@{places}/{service}/{database}?sentinel_password={told}"


@contextmanager
def one_redis(folder: Path, tls: bool = False) -> Iterator[dict[str, str]]:
    """A server, and the settings that name it."""
    with redis_server(folder, tls=tls) as server:
        authority = {"HARDPOSE_BROKER_CA": str(folder / "ca.pem")} if tls else {}
        yield {"HARDPOSE_BROKER_URL": url_of(server), **authority}
