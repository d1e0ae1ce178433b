"""A proxy on 127.0.0.1 for the tools of sites: every name they ask for is resolved and checked here.

A redirect, a second DNS answer or an address in a site's own page takes a tool to places that nobody has
looked at. So a tool reaches the network through this proxy alone, and the proxy connects to the very
address that it has checked.
"""

import base64
import hmac
import logging
import re
import secrets
import socket
import socketserver
import threading
from types import TracebackType

import httpx

from broker.errors import Action, HardposeError
from workers.downloads.errors import BadLink, DownloadError, ServerBusy
from workers.downloads.net import proxy_wire as wire
from workers.downloads.net.netguard import NetGuard
from workers.downloads.net.upstream_proxy import UpstreamProxy

WEB_PORTS = frozenset({80, 443})
CONNECT_SECONDS = 15.0
HEAD_SECONDS = 15.0
IDLE_SECONDS = 60.0
MAX_CONNECTIONS = 64
"""Of one fetch at a time; yt-dlp and pytubefix use fewer than ten."""

_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\\\s]+):[0-9]{1,5}")
logger = logging.getLogger(__name__)


class GuardProxy:
    """A proxy for one fetch; a context manager. Leaving it ends every connection.

    Public addresses may be reached on ports 80 and 443 only: a page that sends the tool to port 25 would
    make it a mail relay. Addresses in the guard's ``allow_networks`` may be reached on every port.

    Args:
        guard: decides which addresses may be reached, and resolves names.
        upstream: the operator's proxy, ``http://`` or ``socks5://``. It is given the checked address, so
            names must be resolvable here. An HTTP proxy is asked by CONNECT even for port 80.
        idle_seconds: after which a silent connection is ended.
        head_seconds: within which the head of a request must be here.

    Raises:
        SettingsError: ``upstream`` is not a proxy's address; its password is not shown.

    Example:
        >>> with GuardProxy(NetGuard()) as proxy:
        ...     httpx.get("https://example.org", proxy=proxy.url)
    """

    def __init__(
        self,
        guard: NetGuard,
        upstream: str | None = None,
        *,
        idle_seconds: float = IDLE_SECONDS,
        head_seconds: float = HEAD_SECONDS,
    ) -> None:
        self._guard = guard
        self._upstream = UpstreamProxy.parse(upstream) if upstream else None
        self.idle_seconds = idle_seconds
        self.head_seconds = head_seconds
        self._password = secrets.token_urlsafe(24)
        self._expected = base64.b64encode(f"hardpose:{self._password}".encode())
        self._lock = threading.Lock()
        self._refusal: DownloadError | None = None
        self._trouble: HardposeError | None = None
        self._open: set[socket.socket] = set()
        self._closed = False
        self._server: _Server | None = None

    def __enter__(self) -> "GuardProxy":
        self._server = _Server(self)
        threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="guard-proxy", daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            for sock in self._open:
                _shut(sock)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: 127.0.0.1 and its port. Only between enter and exit."""
        if self._server is None:
            raise RuntimeError("GuardProxy is used as a context manager")
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    @property
    def url(self) -> str:
        """Its address with user name and password, for the one tool that may use it. Not to be logged."""
        host, port = self.address
        return f"http://hardpose:{self._password}@{host}:{port}"

    @property
    def refusal(self) -> DownloadError | None:
        """The first target that was refused: ``PrivateAddress``, ``BadLink`` or ``UnsupportedScheme``.

        It explains a tool's failure better than the tool can ("HTTP error 403"), so it goes before it.
        """
        return self._refusal

    @property
    def trouble(self) -> HardposeError | None:
        """The first target that could not be reached: ``NameNotResolved`` or ``ServerBusy``.

        Kept apart from ``refusal``: a tool survives one such failure and may then find out that the video is
        private. It goes before a tool's failure only where the tool says no more than that it failed.
        ``MissingDependency`` is here too:
        an upstream proxy without python-socks.
        """
        return self._trouble

    def authorised(self, head: wire.Head) -> bool:
        """Whether the request carries the password, compared in constant time."""
        given = head.values("proxy-authorization")
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(" ")
        return scheme.lower() == "basic" and hmac.compare_digest(
            token.strip().encode("latin-1"), self._expected
        )

    def target(self, head: wire.Head) -> httpx.URL:
        """Whom a request is for.

        Raises:
            WireError: neither CONNECT nor an absolute address.
            BadLink, UnsupportedScheme: see ``NetGuard.check_url``.
        """
        method, target, _ = head.start
        if method != "CONNECT":
            if "://" not in target:
                raise wire.WireError(400, "only CONNECT and absolute addresses")
            url = self._guard.check_url(target)
            if url.scheme != "http":
                raise wire.WireError(400, "https goes through CONNECT")
            return url
        if not _AUTHORITY.fullmatch(target):
            raise wire.WireError(400, "CONNECT wants host:port")
        scheme = "http" if target.endswith(":80") else "https"
        return self._guard.check_url(f"{scheme}://{target}")

    def connect(self, url: httpx.URL) -> socket.socket:
        """A connection to the first checked address of the host that takes one.

        Raises:
            PrivateAddress, UnsupportedScheme, NameNotResolved: see ``NetGuard.addresses``.
            BadLink: the port is not the web's.
            ServerBusy: no address takes a connection, or the operator's proxy gives none.
            MissingDependency: see ``UpstreamProxy.connect``.
        """
        addresses = self._guard.addresses(url)
        port = url.port or (443 if url.scheme == "https" else 80)
        if port not in WEB_PORTS and not all(self._guard.allows(address) for address in addresses):
            raise BadLink(
                f"The link leads to port {port} of {url.host}; public servers are asked on 80 and 443 only.",
                "Give a link without a port, or have an operator allow its network.",
            )
        for number, address in enumerate(addresses, start=1):
            try:
                return self._connect(address, port)
            except (OSError, ServerBusy) as error:
                if number < len(addresses):
                    continue
                if isinstance(error, ServerBusy):
                    raise
                reason = "did not answer in time" if isinstance(error, TimeoutError) else str(error.strerror)
                raise ServerBusy(f"{url.host} takes no connection: {reason}.", "Try again later.") from error
        raise AssertionError("addresses() never returns an empty list")

    def _connect(self, address: str, port: int) -> socket.socket:
        if self._upstream is not None:
            return self._upstream.connect(address, port, CONNECT_SECONDS)
        return socket.create_connection((address, port), CONNECT_SECONDS)

    def note(self, error: HardposeError) -> int:
        """Remembers the first refusal and the first trouble; the HTTP status that says which it is."""
        with self._lock:
            if isinstance(error, DownloadError) and error.action is Action.PERMANENT:
                self._refusal = self._refusal or error
                return 403
            self._trouble = self._trouble or error
            return 502

    def hold(self, sock: socket.socket) -> None:
        """Has the connection ended when the proxy is left; at once if it has been."""
        with self._lock:
            self._open.add(sock)
            if self._closed:
                _shut(sock)

    def release(self, sock: socket.socket) -> None:
        """Closes a connection that is done with."""
        with self._lock:
            self._open.discard(sock)
        sock.close()


def _shut(sock: socket.socket) -> None:
    """Wakes whoever waits on the socket; closing it is his, or its number could be another's by then."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        logger.debug("a connection was closed already: %s", error)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, proxy: GuardProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy
        self.room = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def verify_request(self, request: object, client_address: object) -> bool:  # noqa: ARG002
        """Takes no more connections than it has threads for; the others are closed at once."""
        return self.room.acquire(blocking=False)

    def process_request_thread(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        logger.exception("the guard proxy failed on a connection")


class _Handler(socketserver.BaseRequestHandler):
    """One connection of a client: one request, one answer."""

    server: _Server
    request: socket.socket

    def handle(self) -> None:
        self.proxy = self.server.proxy
        self.proxy.hold(self.request)
        try:
            self._serve()
        except wire.WireError as error:
            self._answer(error.status, error.reason)
        except (OSError, ValueError) as error:  # ValueError: a socket closed under the selector
            logger.debug("a connection through the guard proxy ended: %s", error)
        finally:
            self.proxy.release(self.request)

    def _serve(self) -> None:
        head = wire.read_head(self.request, self.proxy.head_seconds)
        if head is None:
            return
        if not self.proxy.authorised(head):
            self._answer(407, "password", [("Proxy-Authenticate", 'Basic realm="hardpose"')])
            return
        length = head.body_length()  # before the target is asked: a smuggled request must not arrive there
        try:
            url = self.proxy.target(head)
            target = self.proxy.connect(url)
        except HardposeError as error:
            # The log says why, but not whom: a target that cannot be parsed may be any text.
            logger.warning("the guard proxy refuses a request: %s", error.code)
            self._answer(self.proxy.note(error), error.code)
            return
        self.proxy.hold(target)
        try:
            if head.start[0] == "CONNECT":
                self._tunnel(head, target)
            else:
                self._pass_on(head, url, length, target)
        finally:
            self.proxy.release(target)

    def _tunnel(self, head: wire.Head, target: socket.socket) -> None:
        self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        target.settimeout(self.proxy.idle_seconds)
        target.sendall(head.rest)
        wire.tunnel(self.request, target, self.proxy.idle_seconds)

    def _pass_on(self, head: wire.Head, url: httpx.URL, length: int, target: socket.socket) -> None:
        idle = self.proxy.idle_seconds
        # The client's own Host header is not believed: the address is checked, and the name goes with it.
        headers = [(name, value) for name, value in head.passed_on() if name.lower() != "host"]
        start = f"{head.start[0]} {url.raw_path.decode('ascii')} HTTP/1.1"
        request = wire.head_bytes(start, [("Host", url.netloc.decode("ascii")), *headers])
        target.settimeout(idle)
        try:
            target.sendall(request)
            wire.send_body(self.request, target, head.rest, length, idle)
            answer = _answer_of(target, idle)
        except OSError as error:
            raise wire.WireError(502, "the server broke off") from error
        self.request.settimeout(idle)
        self.request.sendall(wire.head_bytes(" ".join(answer.start), answer.passed_on()) + answer.rest)
        wire.drain(target, self.request, idle)

    def _answer(self, status: int, text: str, headers: list[tuple[str, str]] | None = None) -> None:
        body = f"hardpose: {text}\n".encode()
        known = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *(headers or [])]
        self.request.settimeout(self.proxy.head_seconds)
        try:
            self.request.sendall(wire.head_bytes(f"HTTP/1.1 {status} {text}", known) + body)
            wire.linger(self.request)
        except OSError as error:
            logger.debug("a client of the guard proxy did not wait for its answer: %s", error)


def _answer_of(target: socket.socket, seconds: float) -> wire.Head:
    """The head of a server's answer; interim ones (1xx) are passed over."""
    rest = b""
    try:
        while (answer := wire.read_head(target, seconds, rest)) and answer.start[1].startswith("1"):
            rest = answer.rest
    except wire.WireError as error:
        raise wire.WireError(502, f"the server's answer: {error.reason}") from error
    if answer is None:
        raise wire.WireError(502, "the server gives no answer")
    return answer
