"""The operator's own proxy behind the guard proxy: what it is told, and what becomes of its failures."""

import base64
import socket
import ssl

import pytest
from proxy_bench import PUBLIC, Recorder, names, origin_server, raw, secure_server, status, with_httpx

from broker.errors import SettingsError
from workers.downloads.errors import ServerBusy
from workers.downloads.net.guard_proxy import GuardProxy
from workers.downloads.net.netguard import NetGuard


@pytest.fixture
def origin():
    with origin_server() as server:
        yield server


@pytest.fixture
def secure(tmp_path):
    with secure_server(tmp_path) as server:
        yield server


@pytest.mark.parametrize(
    ("scheme", "login"),
    [
        ("http", "Basic " + base64.b64encode(b"ann:p@ss").decode()),  # CONNECT
        ("socks5", "ann:p@ss"),  # RFC 1928
    ],
)
def test_the_operators_proxy_gets_the_checked_address_and_not_the_name(secure, scheme, login):
    guard = NetGuard(resolver=names(videos_example=PUBLIC))
    with Recorder(secure.port, scheme) as upstream, GuardProxy(guard, upstream.url) as proxy:
        context = ssl.create_default_context(cafile=secure.ca)
        assert with_httpx(proxy, "https://videos.example/v.mp4", verify=context) == (200, b"here it is")
    assert upstream.asked == [f"{PUBLIC}:443"]
    assert upstream.logins == [login]
    assert set(upstream.kinds) <= {1}  # an IPv4 address, where 3 would be a name


def test_what_is_refused_never_reaches_the_operators_proxy(origin):
    with Recorder(origin.port) as upstream, GuardProxy(NetGuard(), upstream.url) as proxy:
        assert status(raw(proxy, "CONNECT 10.0.0.1:443 HTTP/1.1")) == 403
    assert upstream.asked == []


@pytest.mark.parametrize(
    "refusal",
    [
        407,  # a wrong password
        403,  # a rule of its own
        502,  # its own way out is gone
    ],
)
def test_the_operators_proxy_says_no(origin, refusal):
    guard = NetGuard(resolver=names(videos_example=PUBLIC))
    with Recorder(origin.port, status=refusal) as upstream, GuardProxy(guard, upstream.url) as proxy:
        assert status(raw(proxy, "CONNECT videos.example:443 HTTP/1.1")) == 502
        assert proxy.refusal is None
        assert isinstance(proxy.trouble, ServerBusy)
        assert "HARDPOSE_DOWNLOAD_PROXY" in proxy.trouble.cause
        assert "p@ss" not in str(proxy.trouble)


def test_the_operators_proxy_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    guard = NetGuard(resolver=names(videos_example=PUBLIC))
    with GuardProxy(guard, f"socks5://127.0.0.1:{port}") as proxy:
        assert status(raw(proxy, "CONNECT videos.example:443 HTTP/1.1")) == 502
        assert isinstance(proxy.trouble, ServerBusy)


@pytest.mark.parametrize(
    "text",
    [
        "proxy:3128",  # no scheme
        "ann:S3cret@proxy:3128",  # no scheme, with a password
        "https://ann:S3cret@proxy:3128",  # a scheme that it cannot speak
        "ftp://ann:S3cret@proxy",  # a scheme that no proxy speaks
        "http://ann:S3cret@",  # no host
        "http://ann:S3cret@proxy:99999",  # no such port
        "http://ann:S3cret@proxy:0",  # no such port
        "http://ann:S3cret@proxy:port",  # no number
        "http://ann:S3cret@[::1",  # cannot be parsed
        "http://ann:S3cret@proxy/path",  # more than an address
        "http://ann:x#S3cret@proxy:1",  # a password that was not percent-encoded
    ],
)
def test_an_operators_proxy_that_cannot_be_used_is_refused_without_its_password(text):
    with pytest.raises(SettingsError, match="HARDPOSE_DOWNLOAD_PROXY") as caught:
        GuardProxy(NetGuard(), text)
    shown = str(caught.value) + repr(caught.value.__cause__)
    assert "S3cret" not in shown
    assert caught.value.__cause__ is None
