"""The guard proxy with real clients, real servers and real sockets, all on 127.0.0.1."""

import base64
import ipaddress
import logging
import select
import socket
import ssl
import threading
import time
from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import until
from proxy_bench import (
    CLIENTS,
    LOCAL,
    PUBLIC,
    Recorder,
    local,
    names,
    opened,
    origin_server,
    raw,
    secure_server,
    status,
    with_httpx,
)

from workers.downloads.errors import BadLink, NameNotResolved, PrivateAddress, ServerBusy, UnsupportedScheme
from workers.downloads.net.guard_proxy import MAX_CONNECTIONS, GuardProxy
from workers.downloads.net.netguard import NetGuard
from workers.downloads.net.proxy_wire import MAX_HEAD, Head


@pytest.fixture
def origin():
    with origin_server() as server:
        yield server


@pytest.fixture
def secure(tmp_path):
    with secure_server(tmp_path) as server:
        yield server


# --- what passes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
def test_plain_http_passes(origin, client):
    with local() as proxy:
        found = client(proxy, f"http://videos.example:{origin.port}/a%20b.mp4?x=1&y=%2C")
    assert found == (200, b"here it is")
    (method, path, headers) = origin.seen[0]
    assert (method, path) == ("GET", "/a%20b.mp4?x=1&y=%2C")
    assert headers["Host"] == f"videos.example:{origin.port}"
    assert not [name for name in headers if name.lower().startswith("proxy")]


@pytest.mark.parametrize("client", CLIENTS)
def test_https_passes_with_the_names_certificate(secure, client):
    verify = ssl.create_default_context(cafile=secure.ca) if client is with_httpx else secure.ca
    with local() as proxy:
        found = client(proxy, f"https://videos.example:{secure.port}/v.mp4", verify=verify)
    assert found == (200, b"here it is")


def test_a_body_passes_whole(origin):
    body = bytes(range(256)) * 4096
    with local() as proxy, httpx.Client(proxy=proxy.url, trust_env=False) as client:
        assert client.post(f"http://videos.example:{origin.port}/", content=body).content == body


def test_redirects_come_back_through_the_proxy(origin):
    with local() as proxy:
        there = f"http://other.example:{origin.port}/there"
        assert with_httpx(proxy, f"http://videos.example:{origin.port}/?to={there}")[0] == 200
        assert proxy.refusal is None
    assert [headers["Host"].partition(":")[0] for _, _, headers in origin.seen] == [
        "videos.example",
        "other.example",
    ]


def test_the_next_address_is_tried_when_one_takes_no_connection(origin):
    guard = NetGuard(LOCAL, names(videos_example=("127.0.0.9", "127.0.0.1")))
    with GuardProxy(guard) as proxy:
        assert with_httpx(proxy, f"http://videos.example:{origin.port}/") == (200, b"here it is")
        assert proxy.trouble is None


# --- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
def test_a_redirect_to_a_private_address_is_refused(origin, client):
    with local() as proxy:
        url = f"http://videos.example:{origin.port}/?to=http://169.254.169.254/latest/meta-data"
        assert client(proxy, url) == (403, b"hardpose: private_address\n")
        assert isinstance(proxy.refusal, PrivateAddress)
        assert "169.254.169.254" in proxy.refusal.cause


SPELLINGS = [
    "127.0.0.1",  # as it is
    "127.1",  # inet_aton's short form
    "2130706433",  # one decimal number
    "0x7f000001",  # one hexadecimal number
    "017700000001",  # one octal number
    "0",  # this machine on Linux
    "localhost",  # by name
    "[::1]",  # IPv6
    "[::ffff:127.0.0.1]",  # IPv6-mapped
    "[::ffff:7f00:1]",  # IPv6-mapped, in hexadecimal
    "[64:ff9b::127.0.0.1]",  # through NAT64
]


@pytest.mark.parametrize("host", SPELLINGS)
@pytest.mark.parametrize(
    "line",
    [
        "CONNECT {}:443 HTTP/1.1",  # a tunnel
        "GET http://{}/ HTTP/1.1",  # plain http
    ],
)
def test_this_machine_in_all_spellings_is_refused(host, line):
    with GuardProxy(NetGuard()) as proxy:
        assert status(raw(proxy, line.format(host))) == 403
        assert isinstance(proxy.refusal, PrivateAddress)


def test_a_spelling_that_servers_read_in_two_ways_is_refused():
    with GuardProxy(NetGuard()) as proxy:
        assert status(raw(proxy, "CONNECT 0177.0.0.1:443 HTTP/1.1")) == 403
        assert isinstance(proxy.refusal, BadLink)


PRIVATE = st.sampled_from(["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"])


@given(network=PRIVATE, offset=st.integers(0, 2**16 - 1), form=st.sampled_from(["{}", "0x{:x}", "0{:o}"]))
def test_no_number_of_a_private_address_is_connected_to(network, offset, form):
    number = int(ipaddress.ip_network(network)[offset])
    proxy = GuardProxy(NetGuard())
    head = Head(("CONNECT", f"{form.format(number)}:443", "HTTP/1.1"), (), b"")
    with pytest.raises(PrivateAddress):
        proxy.connect(proxy.target(head))


def test_a_name_that_changes_its_answer_is_checked_each_time(origin):
    guard = NetGuard(LOCAL, names(videos_example=["127.0.0.1", "10.0.0.1"]))
    with GuardProxy(guard) as proxy:
        url = f"http://videos.example:{origin.port}/"
        assert with_httpx(proxy, url)[0] == 200
        assert with_httpx(proxy, url)[0] == 403
    assert len(origin.seen) == 1


def test_a_name_is_asked_for_once_and_the_answer_is_what_is_connected_to(origin):
    # A second look-up at connect time is what rebinding lives from.
    with Recorder(origin.port) as upstream:
        guard = NetGuard(resolver=names(videos_example=[PUBLIC, "127.0.0.1"]))
        with GuardProxy(guard, upstream.url) as proxy:
            assert with_httpx(proxy, "http://videos.example/")[0] == 200
    assert upstream.asked == [f"{PUBLIC}:80"]


def test_a_private_address_among_public_ones_is_refused():
    with GuardProxy(NetGuard(resolver=names(videos_example=(PUBLIC, "10.0.0.1")))) as proxy:
        assert status(raw(proxy, "CONNECT videos.example:443 HTTP/1.1")) == 403
        assert isinstance(proxy.refusal, PrivateAddress)


@pytest.mark.parametrize(
    "target",
    [
        "CONNECT videos.example:25 HTTP/1.1",  # a mail relay
        "CONNECT videos.example:22 HTTP/1.1",  # a login
        "GET http://videos.example:6379/ HTTP/1.1",  # somebody's Redis
    ],
)
def test_public_servers_are_asked_on_the_webs_ports_only(target):
    with GuardProxy(NetGuard(resolver=names(videos_example=PUBLIC))) as proxy:
        assert status(raw(proxy, target)) == 403
        assert isinstance(proxy.refusal, BadLink)


def test_plain_http_can_be_forbidden():
    with GuardProxy(NetGuard(resolver=names(videos_example=PUBLIC), plain_http=False)) as proxy:
        assert status(raw(proxy, "CONNECT videos.example:80 HTTP/1.1")) == 403
        assert isinstance(proxy.refusal, UnsupportedScheme)


def test_the_first_refusal_is_kept():
    with local() as proxy:
        raw(proxy, "CONNECT bad.example:443 HTTP/1.1")
        raw(proxy, "CONNECT 192.168.0.1:443 HTTP/1.1")
        assert "bad.example" in proxy.refusal.cause


def test_a_name_without_an_address_is_trouble_and_no_refusal():
    with local() as proxy:
        assert status(raw(proxy, "CONNECT nowhere.example:443 HTTP/1.1")) == 502
        assert proxy.refusal is None
        assert isinstance(proxy.trouble, NameNotResolved)


def test_a_server_that_takes_no_connection_is_trouble(origin):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with local() as proxy:
        assert status(raw(proxy, f"CONNECT videos.example:{port} HTTP/1.1")) == 502
        assert proxy.refusal is None
        assert isinstance(proxy.trouble, ServerBusy)


# --- who may ask ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "login",
    [
        [],  # none
        ["Proxy-Authorization: Basic aGFyZHBvc2U6d3Jvbmc="],  # hardpose:wrong
        ["Proxy-Authorization: Bearer {}"],  # the right one in another scheme
        ["Proxy-Authorization: Basic {}", "Proxy-Authorization: Basic {}"],  # twice
        ["Proxy-Authorization: Basic \xff"],  # not even base64
    ],
)
def test_without_the_password_nobody_passes(origin, login):
    with local() as proxy:
        token = base64.b64encode(proxy.url[7:].partition("@")[0].encode()).decode()
        lines = [line.format(token) for line in login]
        answer = raw(proxy, f"GET http://videos.example:{origin.port}/ HTTP/1.1", *lines, password=False)
        assert status(answer) == 407
        assert b"Proxy-Authenticate: Basic" in answer
        assert proxy.refusal is None
    assert origin.seen == []


def test_each_proxy_has_a_password_of_its_own():
    with local() as one, local() as other:
        assert one.url.partition("@")[0] != other.url.partition("@")[0]


# --- what is not HTTP ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "answered"),
    [
        (["GET / HTTP/1.1"], 400),  # not a proxy's form
        (["GET https://videos.example/ HTTP/1.1"], 400),  # a proxy would see what is secret
        (["CONNECT videos.example HTTP/1.1"], 400),  # no port
        (["CONNECT user@videos.example:443 HTTP/1.1"], 400),  # a user in it
        (["CONNECT videos.example:443/../x HTTP/1.1"], 400),  # a path in it
        (["GET ftp://videos.example/ HTTP/1.1"], 403),  # another scheme
        (["GET http://u:p@videos.example/ HTTP/1.1"], 403),  # a password in it
        (["\x16\x03\x01\x02"], 400),  # TLS in place of HTTP
        (["POST http://videos.example/ HTTP/1.1", "Transfer-Encoding: chunked"], 411),  # smuggling
        (
            ["POST http://videos.example/ HTTP/1.1", "Content-Length: 1", "Content-Length: 2"],
            400,
        ),  # smuggling
        (["POST http://videos.example/ HTTP/1.1", "Content-Length: +1"], 400),  # smuggling
        (["GET http://videos.example/ HTTP/1.1", " folded: x"], 400),  # read in two ways
        (["GET http://videos.example/ HTTP/1.1", "X: 1\nProxy-Y: 2"], 400),  # read in two ways
        (["GET http://videos.example/ HTTP/1.1", "X: " + "x" * (MAX_HEAD + 8192)], 431),  # endless
    ],
)
def test_odd_requests_are_answered_and_go_nowhere(origin, lines, answered):
    with local() as proxy:
        assert status(raw(proxy, *lines)) == answered
    assert origin.seen == []


def test_a_head_that_dribbles_in_is_given_up():
    with local(head_seconds=0.5) as proxy, socket.create_connection(proxy.address, 60) as sock:
        for _ in range(600):  # a minute
            if select.select([sock], [], [], 0.1)[0]:
                break
            with suppress(ConnectionError):  # it has just been given up
                sock.sendall(b"C")  # each byte in time, all of them too late
        else:
            pytest.fail("it goes on waiting")
        assert status(sock.recv(1000)) == 408


def test_a_second_request_on_a_connection_is_not_passed_on(origin):
    # The first one's check says nothing of the second one's host.
    with local() as proxy:
        first = f"GET http://videos.example:{origin.port}/1 HTTP/1.1"
        answer = raw(proxy, first, "Host: videos.example", "", "GET http://bad.example/2 HTTP/1.1", "Host: x")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer
    assert [path for _, path, _ in origin.seen] == ["/1"]


def test_the_clients_host_header_is_not_believed(origin):
    with local() as proxy:
        raw(proxy, f"GET http://videos.example:{origin.port}/ HTTP/1.1", "Host: bad.example")
    assert origin.seen[0][2]["Host"] == f"videos.example:{origin.port}"


def test_headers_of_one_connection_end_here(origin):
    with local() as proxy:
        raw(
            proxy,
            f"GET http://videos.example:{origin.port}/ HTTP/1.1",
            "Connection: X-Mine, keep-alive",
            "X-Mine: 1",
            "Upgrade: websocket",
            "X-Kept: 2",
        )
    headers = origin.seen[0][2]
    assert headers["X-Kept"] == "2"
    assert headers["Connection"] == "close"
    assert not {"X-Mine", "Upgrade", "Proxy-Authorization"} & set(headers)


def test_a_server_that_does_not_speak_http_is_answered_for():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            connection, _ = server.accept()
            connection.sendall(b"220 mail.example ESMTP\r\n\r\n")
            connection.close()

        threading.Thread(target=greet, daemon=True).start()
        with local() as proxy:
            answer = raw(proxy, f"GET http://videos.example:{server.getsockname()[1]}/ HTTP/1.1")
    assert status(answer) == 502


# --- ends ----------------------------------------------------------------------------------------------


@pytest.fixture
def silent():
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_leaving_ends_every_tunnel_and_the_listener(silent):
    with local() as proxy:
        address = proxy.address
        tunnels = [opened(proxy, f"CONNECT videos.example:{silent} HTTP/1.1") for _ in range(5)]
        assert [status(sock.recv(100)) for sock in tunnels] == [200] * 5
    assert [sock.recv(100) for sock in tunnels] == [
        b""
    ] * 5  # what idles may do so for longer than this waits
    for sock in tunnels:
        sock.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 1)


def test_a_silent_tunnel_is_ended(silent):
    with local(idle_seconds=0.3) as proxy:
        start = time.monotonic()
        assert status(raw(proxy, f"CONNECT videos.example:{silent} HTTP/1.1")) == 200  # all, to its end
        assert time.monotonic() - start >= 0.3


def test_no_more_connections_than_threads():
    with local() as proxy:
        held = [socket.create_connection(proxy.address, 60) for _ in range(MAX_CONNECTIONS)]
        with socket.create_connection(proxy.address, 60) as late:
            assert late.recv(10) == b""
        for sock in held:
            sock.close()
        assert status(until(lambda: _answer(proxy), "an answer again")) == 400


def _answer(proxy):
    with suppress(ConnectionError):  # as long as the threads of those that have left are not free
        return raw(proxy, "GET / HTTP/1.1")


def test_the_log_names_no_path_and_no_password(origin, caplog):
    with caplog.at_level(logging.DEBUG), local() as proxy:
        raw(proxy, "GET http://10.0.0.1/secret?token=abc HTTP/1.1")
        with_httpx(proxy, f"http://videos.example:{origin.port}/secret?token=abc")
        password = proxy.url.partition("@")[0].rpartition(":")[2]
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("workers.")]
    assert ours
    assert not [line for line in ours if "secret" in line or "token" in line or password in line]
