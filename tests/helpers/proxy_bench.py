"""Real servers, clients and operators' proxies on 127.0.0.1, for the tests of the guard proxy."""

import base64
import ipaddress
import socket
import socketserver
import ssl
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx
import requests
import trustme

from workers.downloads.net.guard_proxy import GuardProxy
from workers.downloads.net.netguard import NetGuard

PUBLIC = "93.184.215.14"
LOCAL = ("127.0.0.0/8",)


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


@contextmanager
def origin_server():
    """Plain http; ``seen`` has the requests, ``port`` is where."""
    server = Server(("127.0.0.1", 0), Origin)
    server.seen, server.port = [], server.server_address[1]
    with serving(server):
        yield server


@contextmanager
def secure_server(folder):
    """https as videos.example; ``ca`` is its authority's file."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("videos.example").configure_cert(context)
    server = Server(("127.0.0.1", 0), Origin)
    server.seen, server.port = [], server.server_address[1]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.ca = str(folder / "ca.pem")
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
    """A proxy that may reach this machine, with more patience than a busy machine needs."""
    options = {"head_seconds": 120.0, "idle_seconds": 600.0, **options}
    resolver = names(videos_example="127.0.0.1", other_example="127.0.0.1", bad_example="10.0.0.1")
    return GuardProxy(NetGuard(LOCAL, resolver), **options)


def with_httpx(proxy, url, **options):
    with httpx.Client(
        proxy=proxy.url, trust_env=False, follow_redirects=True, timeout=60, **options
    ) as client:
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
        with opener.open(url, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


CLIENTS = [
    with_httpx,  # our own
    with_requests,  # one of yt-dlp's
    with_urllib,  # pytubefix's
]


def raw(proxy, *lines, password=True, wait=60.0):
    """Sends lines as they are; all that comes back until the proxy closes."""
    with opened(proxy, *lines, password=password, wait=wait) as sock:
        return everything(sock)


def opened(proxy, *lines, password=True, wait=60.0):
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
    with socket.create_connection(("127.0.0.1", port), 60) as server:
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join(60)


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
