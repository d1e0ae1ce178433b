"""Two real Redis servers under three Sentinels: as a broker, as the shared state, and when one fails."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flower.utils.broker import Broker as FlowersBroker
from redis_servers import PASSWORD, SENTINEL_PASSWORD, SentinelGroup, redis_server, until, url_of

from api.http.errors import Limited
from api.http.limits import RateLimits
from broker.app import create_app
from broker.control import Control
from broker.errors import BrokerRefuses, BrokerUnavailable
from broker.settings import Settings, load_settings
from workers.process import check_broker

pytestmark = pytest.mark.timeout(900)  # each wait may be long on a busy machine


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    """Without TLS, Sentinels with a password of their own."""
    with SentinelGroup(tmp_path_factory.mktemp("sentinels") / "group") as group:
        yield group


def settings_of(group: SentinelGroup, *, database: int = 0, **changed: str) -> Settings:
    authority = group.servers[0].folder / "ca.pem" if group.tls else None
    return load_settings(broker_url=group.url(database, **changed), broker_ca=authority)


def send(settings: Settings, queue: str, count: int = 1) -> None:
    with create_app(settings) as app, app.connection_for_write() as connection:
        for _ in range(count):
            app.send_task("hardpose.nothing", queue=queue, connection=connection, retry=False)


def test_all_three_find_the_master_and_its_database(group: SentinelGroup) -> None:
    settings = settings_of(group, database=3)
    send(settings, "some-queue", 2)
    assert Control.of(settings).lengths(["some-queue"]) == ({"some-queue": 2}, 0)
    limits = RateLimits(settings)
    limits.count("somebody", "GET", "/jobs")
    assert limits.shared
    kept = group.master.client().info("keyspace")
    assert list(kept) == ["db3"]  # nothing went to another one
    assert len(list(group.master.client().scan_iter())) == 0


def test_flower_shows_how_long_the_queues_are(group: SentinelGroup) -> None:
    settings = settings_of(group)
    send(settings, "flower-queue", 3)
    with create_app(settings) as app, app.connection() as connection:
        told = FlowersBroker(
            connection.as_uri(include_password=True), broker_options=app.conf.broker_transport_options
        )
        assert asyncio.run(told.queues(["flower-queue"])) == [{"name": "flower-queue", "messages": 3}]
    group.master.client().flushall()


def test_requests_are_counted_together_by_all_processes_of_the_api(group: SentinelGroup) -> None:
    text = group.url(4)
    first, second = (RateLimits(load_settings(broker_url=text, api_requests_per_minute=3)) for _ in range(2))
    for limits in (first, second, first):
        limits.count("somebody", "GET", "/jobs")
    with pytest.raises(Limited):
        second.count("somebody", "GET", "/jobs")
    assert first.shared
    assert second.shared


@pytest.mark.parametrize(
    ("changed", "fault", "hint"),
    [
        ({"password": "wrong-word"}, "broker refuses the user or the password", "HARDPOSE_BROKER_URL"),
        ({"greeting": "wrong-word"}, "Sentinels refuse the user or the password", "sentinel_password"),
        ({"service": "another"}, "know no service 'another'", "sentinel monitor"),
    ],
)
def test_what_is_wrong_in_the_url_is_named_at_once(
    group: SentinelGroup, changed: dict[str, str], fault: str, hint: str
) -> None:
    with pytest.raises(BrokerRefuses, match=fault) as error:
        check_broker(settings_of(group, **changed))
    assert hint in error.value.remedy
    for secret in (PASSWORD, SENTINEL_PASSWORD, "wrong-word"):
        assert secret not in f"{error.value} {error.value.remedy}"


def test_a_redis_that_is_taken_for_a_sentinel_is_named(group: SentinelGroup) -> None:
    port = group.servers[0].port
    url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{port}/main"
    with pytest.raises(BrokerUnavailable, match="None of 1 Sentinels answers: unknown command") as error:
        Control.of(load_settings(broker_url=url)).ping()
    assert "not those of the Redis" in error.value.remedy


def test_sentinels_without_a_password_take_that_of_the_redis(tmp_path: Path) -> None:
    """As in most guides: `requirepass` in redis.conf alone. And over TLS, all of them."""
    with SentinelGroup(tmp_path / "group", tls=True, sentinel_password="") as group:
        text, options = group.url().partition("?")[::2]
        assert options
        settings = load_settings(broker_url=text, broker_ca=group.servers[0].folder / "ca.pem")
        Control.of(settings).ping()
        send(settings, "some-queue")
        assert Control.of(settings).lengths(["some-queue"]) == ({"some-queue": 1}, 0)
        limits = RateLimits(settings)
        limits.count("somebody", "GET", "/jobs")
        assert limits.shared
        with pytest.raises(BrokerUnavailable):
            Control.of(load_settings(broker_url=text)).ping()  # whose authority the system does not know


def test_a_redis_over_tls_counts_requests_too(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis", tls=True) as server:
        authority = server.folder / "ca.pem"
        limits = RateLimits(load_settings(broker_url=url_of(server), broker_ca=authority))
        limits.count("somebody", "GET", "/jobs")
        assert limits.shared
        assert len(list(server.client().scan_iter())) == 1


WORKER = """
import sys
from broker.app import create_app
from broker.settings import load_settings

app = create_app(load_settings())


@app.task(name="hardpose.nothing")
def nothing():
    '''Only its message is of interest.'''


app.worker_main(["worker", "--queues=before,after", "--pool=threads", "--concurrency=1", "--loglevel=INFO",
                 "--without-gossip", "--without-mingle"])
"""


def test_a_worker_goes_on_with_the_master_that_takes_over(
    group: SentinelGroup, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last test of the group: nothing is left of it."""
    settings = settings_of(group)
    control = Control.of(settings)
    control.begin("kept")
    environment = {"HARDPOSE_BROKER_URL": group.url(), "HARDPOSE_CONFIG": "none.toml"}
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env={**_inherited(), **environment}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        send(settings, "before")
        until(lambda: _succeeded(tmp_path) == 1, "the first message is worked on")
        until(lambda: _offset(group, 0) == _offset(group, 1), "all is copied")
        group.replaced(group.lose_master())
        until(lambda: _counts(control) == 2, "the shared state is there again")  # nothing of it is lost
        send(settings, "after")
        until(lambda: _succeeded(tmp_path) == 2, "the second message is worked on")
        assert worker.poll() is None
        until(
            lambda: control.lengths(["before", "after"]) == ({"before": 0, "after": 0}, 0),
            "all is acknowledged",
        )
        _no_quorum(group, settings, caplog)
    finally:
        worker.kill()
        worker.wait()
    assert PASSWORD not in (tmp_path / "log").read_text()
    assert SENTINEL_PASSWORD not in (tmp_path / "log").read_text()


def _no_quorum(group: SentinelGroup, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """One Sentinel of three is left, and no server: it may not choose another."""
    for sentinel in group.sentinels[:2]:
        sentinel.kill()
    Control.of(settings).ping()  # the master is still there, and one Sentinel knows it
    group.lose_master()
    until(lambda: bool(group.state(2)["is_sdown"]), "the last Sentinel misses the master")
    with pytest.raises(BrokerUnavailable, match="lost sight of the master") as error:
        Control.of(settings).ping()
    assert "quorum" in error.value.remedy
    with caplog.at_level(logging.WARNING):
        check_broker(settings)  # a worker waits for it
    assert "lost sight of the master" in caplog.text
    group.sentinels[2].kill()
    with pytest.raises(BrokerUnavailable, match="None of 3 Sentinels answers"):
        Control.of(settings).ping()


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HARDPOSE_")}


def _succeeded(folder: Path) -> int:
    return (folder / "log").read_text().count("succeeded in")


def _counts(control: Control) -> int:
    try:
        return control.begin("kept")
    except BrokerUnavailable:
        return 0


def _offset(group: SentinelGroup, number: int) -> Any:
    """How far a server is in what was written (Redis documentation, INFO)."""
    told = group.servers[number].client().info("replication")
    return told["master_repl_offset"] if told["role"] == "master" else told["slave_repl_offset"]
