"""A real Redis that takes nothing for a while: a worker waits for it, where Celery would have ended it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis_servers import PASSWORD, Server, redis_server, until, url_of

from broker.app import create_app
from broker.passing_refusals import PlainLink, passes
from broker.settings import load_settings

WORKER = """
from broker.app import create_app
from broker.settings import load_settings

app = create_app(load_settings())


@app.task(name="hardpose.nothing")
def nothing():
    '''Only its message is of interest.'''


app.worker_main(["worker", "--queues=some", "--pool=threads", "--concurrency=1", "--loglevel=INFO",
                 "--without-gossip", "--without-mingle"])
"""
NOWHERE = ("127.0.0.1", 1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with redis_server(tmp_path_factory.mktemp("refusing") / "redis") as server:
        yield server


def test_a_worker_outlives_a_server_that_takes_nothing(server: Server, tmp_path: Path) -> None:
    log, client = tmp_path / "log", server.client()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HARDPOSE_")}
    env = {**inherited, "HARDPOSE_BROKER_URL": url_of(server), "HARDPOSE_CONFIG": "none.toml"}
    with log.open("wb") as file:
        worker = subprocess.Popen([sys.executable, "-c", WORKER], env=env, stdout=file, stderr=file)
    try:
        _goes_on(server, log, 1)
        until(lambda: _waits(client), "a worker that waits for a message")
        client.config_set("min-replicas-to-write", 1)
        until(lambda: "moment: NOREPLICAS" in log.read_text(), "a master that misses its replicas")
        client.config_set("min-replicas-to-write", 0)
        _goes_on(server, log, 2)
        until(lambda: _waits(client), "a worker that waits for a message")  # it is sent away: UNBLOCKED
        client.replicaof(*NOWHERE)
        until(lambda: "read only replica" in log.read_text(), "a master that has become a replica")
        client.replicaof("NO", "ONE")
        _goes_on(server, log, 3)
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait()


def _waits(client: "redis.Redis") -> bool:
    return any(each["cmd"] == "brpop" for each in client.client_list())


def _goes_on(server: Server, log: Path, count: int) -> None:
    with create_app(load_settings(broker_url=url_of(server))) as app:
        app.send_task("hardpose.nothing", queue="some")
    until(lambda: log.read_text().count("succeeded in") == count, f"message {count} is worked on")


def test_a_full_memory_passes_and_a_defect_does_not(server: Server) -> None:
    pool = redis.ConnectionPool(
        connection_class=PlainLink, host="127.0.0.1", port=server.port, password=PASSWORD
    )
    client = redis.Redis(connection_pool=pool)
    client.set("word", "x")
    server.client().config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.ConnectionError, match="takes nothing for the moment"):
            client.set("word", "y")
    finally:
        server.client().config_set("maxmemory", 0)
    assert client.get("word") == b"x"
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.lpush("word", "z")
    assert client.get("word") == b"x"


@pytest.mark.parametrize(("kind", "passing"), [("-READONLY", True), ("-OOM", True), ("-WRONGTYPE", False)])
def test_what_a_script_meets_is_known_in_the_words_of_servers_before_redis_7(
    kind: str, passing: bool
) -> None:
    met = redis.ResponseError(f"Error running script (call to f_5b): @user_script: 9: {kind} and so on")
    assert passes(met) is passing
