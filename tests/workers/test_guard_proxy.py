"""The guard proxy with real clients, real servers and real sockets, all on 127.0.0.1."""

import base64
import ipaddress
import logging
import select
import socket
import socketserver
import ssl
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import requests
import trustme
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import SettingsError
from workers.downloads.errors import BadLink, NameNotResolved, PrivateAddress, ServerBusy, UnsupportedScheme
from workers.downloads.guard_proxy import MAX_CONNECTIONS, GuardProxy
from workers.downloads.netguard import NetGuard
from workers.downloads.proxy_wire import MAX_HEAD, Head

PUBLIC = "93.184.215.14"
LOCAL = ("127.0.0.0/8",)


# --- what it is tested with ----------------------------------------------------------------------------


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections alive, as real servers do

    def do_GET(self):
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        target = parse_qs(urlsplit(self.path).query).get("to")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"here it is"
        self.send_response(302 if target else 200)
        if target:
            self.send_header("Location", target[0])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients are cut off here; that is no fault of the server."""


@contextmanager
def serving(server):
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    with server:
        yield server
        server.shutdown()


@pytest.fixture
def origin():
    server = Server(("127.0.0.1", 0), Origin)
    server.seen, server.port = [], server.server_address[1]
    with serving(server):
        yield server


@pytest.fixture
def secure(tmp_path):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("videos.example").configure_cert(context)
    server = Server(("127.0.0.1", 0), Origin)
    server.seen, server.port = [], server.server_address[1]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.ca = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(server.ca)
    with serving(server):
        yield server


def names(**addresses):
    """A resolver of ``name_example`` as name.example; a list is given out one by one, then its last."""

    def resolve(host, port):
        found = addresses.get(host.replace(".", "_"))
        if isinstance(found, list):
            return [found.pop(0) if len(found) > 1 else found[0]]
        if found is None:
            return [str(ipaddress.ip_address(host))] if host[0].isdigit() else _unknown()
        return [found] if isinstance(found, str) else list(found)

    return resolve


def _unknown():
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def local(**options):
    """A proxy that may reach this machine."""
    resolver = names(videos_example="127.0.0.1", other_example="127.0.0.1", bad_example="10.0.0.1")
    return GuardProxy(NetGuard(LOCAL, resolver), **options)


def with_httpx(proxy, url, **options):
    with httpx.Client(proxy=proxy.url, trust_env=False, follow_redirects=True, **options) as client:
        answer = client.get(url)
        return answer.status_code, answer.content


def with_requests(proxy, url, verify=True):
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(url, proxies={"http": proxy.url, "https": proxy.url}, verify=verify)
        return answer.status_code, answer.content


def with_urllib(proxy, url, verify=None):
    through = urllib.request.ProxyHandler({"http": proxy.url, "https": proxy.url})
    context = ssl.create_default_context(cafile=verify)
    opener = urllib.request.build_opener(through, urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


CLIENTS = [
    with_httpx,  # our own
    with_requests,  # one of yt-dlp's
    with_urllib,  # pytubefix's
]


def raw(proxy, *lines, password=True, wait=5.0):
    """Sends lines as they are; all that comes back until the proxy closes."""
    with opened(proxy, *lines, password=password, wait=wait) as sock:
        return everything(sock)


def opened(proxy, *lines, password=True, wait=5.0):
    sock = socket.create_connection(proxy.address, wait)
    token = proxy.url.removeprefix("http://").partition("@")[0].encode()
    login = [f"Proxy-Authorization: Basic {base64.b64encode(token).decode()}"] if password else []
    sock.sendall("\r\n".join([*lines[:1], *login, *lines[1:], "", ""]).encode("latin-1"))
    return sock


def everything(sock):
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def status(answer):
    return int(answer.split(b" ", 2)[1])


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
    with local(head_seconds=0.5) as proxy, socket.create_connection(proxy.address, 5) as sock:
        sent = 0
        while sent < 50 and not select.select([sock], [], [], 0.1)[0]:
            sock.sendall(b"C")  # each byte in time, all of them too late
            sent += 1
        assert status(everything(sock)) == 408
        assert 2 < sent < 20


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
        start = time.monotonic()
    assert [sock.recv(100) for sock in tunnels] == [b""] * 5
    assert time.monotonic() - start < 3
    for sock in tunnels:
        sock.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 1)


def test_a_silent_tunnel_is_ended(silent):
    with local(idle_seconds=0.3) as proxy:
        start = time.monotonic()
        assert status(raw(proxy, f"CONNECT videos.example:{silent} HTTP/1.1")) == 200
        assert 0.2 < time.monotonic() - start < 3


def test_no_more_connections_than_threads():
    with local() as proxy:
        held = [socket.create_connection(proxy.address, 5) for _ in range(MAX_CONNECTIONS)]
        with socket.create_connection(proxy.address, 5) as late:
            assert late.recv(10) == b""
        for sock in held:
            sock.close()
        assert _comes_back(proxy)


def _comes_back(proxy):
    for _ in range(100):
        answer = raw(proxy, "GET / HTTP/1.1")
        if answer:
            return status(answer) == 400
        time.sleep(0.05)
    return False


def test_the_log_names_no_path_and_no_password(origin, caplog):
    with caplog.at_level(logging.DEBUG), local() as proxy:
        raw(proxy, "GET http://10.0.0.1/secret?token=abc HTTP/1.1")
        with_httpx(proxy, f"http://videos.example:{origin.port}/secret?token=abc")
        password = proxy.url.partition("@")[0].rpartition(":")[2]
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("workers.")]
    assert ours
    assert not [line for line in ours if "secret" in line or "token" in line or password in line]


# --- the operator's own proxy --------------------------------------------------------------------------


class _Connect(BaseHTTPRequestHandler):
    def do_CONNECT(self):
        recorder = self.server.recorder
        recorder.asked.append(self.path)
        recorder.logins.append(self.headers.get("Proxy-Authorization"))
        if recorder.status != 200:
            self.send_error(recorder.status)
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        _join(self.connection, recorder.port)

    def log_message(self, *arguments):
        pass


class _Socks(socketserver.BaseRequestHandler):
    """As much of SOCKS5 as a client with a password needs (RFC 1928 and 1929)."""

    def handle(self):
        recorder, file = self.server.recorder, self.request.makefile("rb")
        file.read(file.read(2)[1])
        self.request.sendall(b"\x05\x02")
        user = file.read(file.read(2)[1])
        secret = file.read(file.read(1)[0])
        recorder.logins.append((user + b":" + secret).decode())
        self.request.sendall(b"\x01\x00")
        kind = file.read(4)[3]
        recorder.kinds.append(kind)
        host = socket.inet_ntoa(file.read(4)) if kind == 1 else file.read(file.read(1)[0]).decode()
        recorder.asked.append(f"{host}:{int.from_bytes(file.read(2), 'big')}")
        self.request.sendall(b"\x05\x00\x00\x01\0\0\0\0\0\0")
        _join(self.request, recorder.port)


def _join(client, port):
    with socket.create_connection(("127.0.0.1", port), 5) as server:
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join(5)


def _pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # either side may leave at any time


class Recorder:
    """An operator's proxy that leads everything to one server here, and writes down what it was asked."""

    def __init__(self, port, scheme="http", status=200):
        self.port, self.status = port, status
        self.asked, self.logins, self.kinds = [], [], []
        kind = _Connect if scheme == "http" else _Socks
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), kind)
        self.server.daemon_threads = True
        self.server.recorder = self
        self.url = f"{scheme}://ann:p%40ss@127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.server.shutdown()
        self.server.server_close()


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
