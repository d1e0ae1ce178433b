"""A real Redis server over TLS: who is not who he says he is, is not believed."""

import datetime
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import trustme
from free_ports import free_port
from namespaces import require_programs
from redis_servers import until

from broker.app import create_app
from broker.control import Control
from broker.errors import BrokerRefuses, BrokerUnavailable, BrokerUntrusted, SettingsError
from broker.settings import Settings, load_settings
from workers.process import check_broker

PASSWORD = "only-for-this-test-0123456789"
CA = trustme.CA()
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@contextmanager
def server(folder: Path, certificate: trustme.LeafCert) -> Iterator[int]:
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    CA.cert_pem.write_to_path(str(folder / "ca.pem"))
    port = free_port()
    config = f"port 0\ntls-port {port}\nbind 127.0.0.1\ntls-auth-clients no\nrequirepass {PASSWORD}\n"
    config += 'tls-cert-file server.pem\ntls-key-file server.pem\ntls-ca-cert-file ca.pem\nsave ""\n'
    process = subprocess.Popen(
        ["redis-server", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=folder
    )
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(config.encode())
    try:
        until(lambda: _listens(port), "a redis-server that listens")
        yield port
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Settings]]:
    """Settings for a server whose certificate is for 127.0.0.1."""
    require_programs("redis-server")
    folder = tmp_path_factory.mktemp("tls")
    with server(folder, CA.issue_cert("127.0.0.1")) as port:

        def settings(password: str = PASSWORD, host: str = "127.0.0.1", ca: Path | None = None) -> Settings:
            url = f"rediss://:{password}@{host}:{port}/0"
            return load_settings(broker_url=url, broker_ca=ca or folder / "ca.pem")

        yield settings


def test_a_broker_with_a_good_certificate_is_believed(good: Callable[..., Settings]) -> None:
    Control.of(good()).ping()
    with create_app(good()) as app, app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1)
        assert connection.connected


def test_a_wrong_password_is_said_and_not_shown(good: Callable[..., Settings]) -> None:
    with pytest.raises(BrokerRefuses) as error:
        check_broker(good(password="not-the-password-1234"))
    assert "not-the-password-1234" not in str(error.value)
    assert "HARDPOSE_BROKER_URL" in error.value.remedy


def refused(settings: Settings) -> None:
    """By redis-py and by Celery."""
    with pytest.raises(BrokerUntrusted, match="HARDPOSE_BROKER_CA") as error:
        check_broker(settings)
    assert PASSWORD not in str(error.value)
    untrusted = pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED")
    with create_app(settings) as app, app.connection_for_read() as connection, untrusted:
        connection.connect()


def test_a_url_without_tls_is_told_so_and_shows_no_password(good: Callable[..., Settings]) -> None:
    plain = load_settings(broker_url=good().broker.replace("rediss://", "redis://"))
    with pytest.raises(BrokerUnavailable, match=r"rediss:// where the broker speaks TLS") as error:
        Control.of(plain).ping()
    assert PASSWORD not in str(error.value)


def test_a_certificate_of_a_stranger_or_for_another_host_is_not_believed(
    good: Callable[..., Settings], tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    refused(good(ca=tmp_path / "other.pem"))
    refused(good(host="localhost"))


def test_a_certificate_that_is_out_of_date_is_not_believed(tmp_path: Path) -> None:
    require_programs("redis-server")
    old = CA.issue_cert("127.0.0.1", not_before=LONG_AGO, not_after=LONG_AGO + datetime.timedelta(days=9))
    with server(tmp_path, old) as port:
        url = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0"
        refused(load_settings(broker_url=url, broker_ca=tmp_path / "ca.pem"))


def test_no_check_can_be_switched_off_by_the_url(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    for settings in (
        load_settings(broker_url="rediss://host/0?ssl_cert_reqs=none"),
        load_settings(broker_url="rediss://host/0?ssl_check_hostname=false"),
        load_settings(broker_url="rediss://host/0", broker_ca=tmp_path / "no.pem"),
        load_settings(broker_url="rediss://host/0", broker_ca=tmp_path / "nowhere.pem"),
    ):
        with pytest.raises(SettingsError):
            create_app(settings)
        with pytest.raises(SettingsError):
            Control.of(settings)
