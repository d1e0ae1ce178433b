"""RabbitMQ for the tests, on 127.0.0.1, random ports, and an Erlang port mapper (epmd) of its own.

Nothing of it is shared with a RabbitMQ that the machine runs, and nothing of it stays.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
from free_ports import free_port
from kombu import Connection

USER, PASSWORD = "tester", "a-secret-word"
PLACES = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/opt/rabbitmq/sbin", "/usr/sbin")
"""Where the server's scripts are; Debian's in the PATH want to be root and the system's own user."""
START_SECONDS = 120
"""On a machine that is busy with other tests; 5 to 12 s otherwise."""


def find_rabbitmq() -> Path:
    """Its scripts. Missing, they are a skip at home and a failure where tests are promised to run."""
    found = shutil.which("rabbitmq-server", path=os.pathsep.join(PLACES))
    if found is None or shutil.which("epmd") is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("no RabbitMQ: install rabbitmq-server to run this")
    return Path(found).parent


class RabbitMQ:
    """A server that can be stopped, killed and started again with what it has kept; runs in its ``with``.

    Args:
        folder: for all its files; made if missing.
        settings: lines of ``rabbitmq.conf`` beside its own.
        tls: certificate and key (PEM) to speak TLS with, at another port.
    """

    def __init__(self, folder: Path, settings: str = "", tls: tuple[Path, Path] | None = None) -> None:
        self.folder, self._scripts = folder, find_rabbitmq()
        self.port, self._tls_port, self._tls = free_port(), free_port(), tls
        self._epmd_port, self._name = free_port(), f"hardpose-{secrets.token_hex(4)}@localhost"
        self._server: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rabbitmq.conf").write_text(self._configuration(settings))
        (folder / "enabled_plugins").write_text("[].\n")

    def __enter__(self) -> Self:
        epmd = ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"]
        self._epmd = subprocess.Popen(epmd, cwd=self.folder, env=self._environment())
        try:
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def url(self) -> str:
        """Of the server's ``/``, with user and password."""
        return self.url_of("%2F")

    def url_of(self, vhost: str) -> str:
        """Of a virtual host (``add_vhost``)."""
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{vhost}"

    def tls_url(self, host: str = "127.0.0.1") -> str:
        """Of the server's ``/`` over TLS, by the name or address ``host``."""
        return f"amqps://{USER}:{PASSWORD}@{host}:{self._tls_port}/%2F"

    @property
    def pid(self) -> int:
        """Of the running server, for those who measure it."""
        assert self._server is not None, "the server does not run"
        return self._server.pid

    def start(self) -> None:
        """Returns when it takes connections."""
        with (self.folder / "out.log").open("ab") as log:
            self._server = subprocess.Popen(
                [str(self._scripts / "rabbitmq-server")],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        for _ in range(START_SECONDS * 10):
            assert self._server.poll() is None, (self.folder / "out.log").read_text()[-2000:]
            if self._answers():
                return
            time.sleep(0.1)
        raise AssertionError(f"RabbitMQ does not answer after {START_SECONDS} s")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                pass
        except OSError:
            return False
        try:
            with Connection(self.url, connect_timeout=5) as connection:
                connection.connect()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """As a service manager does it: what is durable is kept."""
        self._end("terminate")

    def kill(self) -> None:
        """As a power cut does it."""
        self._end("kill")

    def _end(self, how: str) -> None:
        if self._server is None:
            return
        getattr(self._server, how)()
        try:
            self._server.wait(60)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    def _close(self) -> None:
        self.kill()
        self._epmd.kill()
        self._epmd.wait()

    def control(self, *arguments: str) -> str:
        """``rabbitmqctl`` with these arguments; returns what it says. It takes a second or two."""
        done = subprocess.run(
            [str(self._scripts / "rabbitmqctl"), "-q", "-n", self._name, *arguments],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def add_vhost(self, name: str) -> str:
        """The URL of a new virtual host: queues of its own on the same server."""
        self.control("add_vhost", name)
        self.control("set_permissions", "-p", name, USER, ".*", ".*", ".*")
        return self.url_of(name)

    def _configuration(self, settings: str) -> str:
        listeners = f"listeners.tcp.1 = 127.0.0.1:{self.port}"
        if self._tls is not None:
            certificate, key = self._tls
            listeners += (
                f"\nlisteners.ssl.1 = 127.0.0.1:{self._tls_port}\n"
                f"ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n"
                "ssl_options.verify = verify_none"  # of clients
            )
        return (
            f"{listeners}\ndefault_user = {USER}\ndefault_pass = {PASSWORD}\n"
            # Half a gigabyte of log is kept in memory otherwise; a test's machine has other use for it.
            f"raft.wal_max_size_bytes = 33554432\ndisk_free_limit.absolute = 50MB\n{settings}\n"
        )

    def _environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        files = {
            "MNESIA_BASE": "data",
            "LOG_BASE": "log",
            "CONFIG_FILE": "rabbitmq.conf",
            "ADVANCED_CONFIG_FILE": "none",
            "CONF_ENV_FILE": "none",
            "ENABLED_PLUGINS_FILE": "enabled_plugins",
            "PID_FILE": "pid",
        }
        return {
            **inherited,
            **{f"RABBITMQ_{name}": str(self.folder / file) for name, file in files.items()},
            "HOME": str(self.folder),  # of the cookie that its own tools show it
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(free_port()),
            # The second part: idle schedulers sleep, where they would spin and take the tests' cores.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} "
            "+sbwt none +sbwtdcpu none +sbwtdio none",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server: one process, one signal
        }


@contextmanager
def rabbitmq_server(folder: Path) -> Iterator[str]:
    """The URL of a running server that keeps its files in ``folder``. One is enough for a module."""
    with RabbitMQ(folder) as server:
        yield server.url
