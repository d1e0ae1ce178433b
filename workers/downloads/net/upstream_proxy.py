"""The operator's own proxy (HTTP or SOCKS): it is given addresses that were checked, never names."""

import socket
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from broker.errors import MissingDependency, SettingsError
from workers.downloads.errors import ServerBusy

_PORTS = {"http": 80, "socks5": 1080, "socks4": 1080}
_REMEDY = "Set HARDPOSE_DOWNLOAD_PROXY like http://user:password@proxy:3128 or socks5://proxy:1080."


@dataclass(frozen=True)
class UpstreamProxy:
    """Where everything that is asked of sites goes through.

    Attributes:
        scheme: ``http``, ``socks5`` or ``socks4``.
        host: of the proxy; it is the operator's, so it may be in a private network.
        port: of the proxy.
        username: None where the proxy wants none.
        password: never shown.
    """

    scheme: str
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> "UpstreamProxy":
        """Reads a proxy's address.

        Args:
            text: ``scheme://[user:password@]host[:port]``; user and password percent-encoded.
                ``socks5h`` is read as ``socks5``: names are resolved here in either case.

        Raises:
            SettingsError: not such an address. Nothing of ``text`` is in it but the scheme and the host.
        """
        try:
            parts = urlsplit(text.strip())
            host, port = parts.hostname, parts.port
        except ValueError:
            raise SettingsError("HARDPOSE_DOWNLOAD_PROXY cannot be parsed.", _REMEDY) from None
        scheme = "socks5" if parts.scheme == "socks5h" else parts.scheme
        if "://" not in text or scheme not in _PORTS:
            named = f"the scheme {parts.scheme!r}" if "://" in text else "no scheme"
            known = ", ".join(_PORTS)
            raise SettingsError(f"HARDPOSE_DOWNLOAD_PROXY has {named}, known are {known}.", _REMEDY)
        if not host or parts.path.strip("/") or parts.query or parts.fragment or port == 0:
            raise SettingsError("HARDPOSE_DOWNLOAD_PROXY is not scheme://host:port.", _REMEDY)
        name = unquote(parts.username) if parts.username else None
        secret = unquote(parts.password) if parts.password else None
        return cls(scheme, host, port or _PORTS[scheme], name, secret)

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """A connection to ``address`` through the proxy; over HTTP it is asked for by CONNECT.

        Args:
            address: IPv4 or IPv6, as text.
            port: there.
            timeout: seconds for the connection and the proxy's answer together.

        Raises:
            MissingDependency: python-socks is not installed.
            ServerBusy: the proxy does not answer or will not connect.
        """
        try:
            from python_socks import ProxyError, ProxyType
            from python_socks.sync import Proxy
        except ImportError as error:
            raise MissingDependency(
                "HARDPOSE_DOWNLOAD_PROXY is set, and the package python-socks is not installed.",
                "Install hardpose[ytdlp] or hardpose[pytubefix].",
            ) from error
        kind = ProxyType[self.scheme.upper()]
        proxy = Proxy(kind, self.host, self.port, self.username, self.password, rdns=False)
        try:
            return proxy.connect(address, port, timeout=timeout)
        except (ProxyError, OSError) as error:  # its timeout errors are TimeoutError, its refusals OSError
            # The proxy's own words are left out: it may repeat what it was sent.
            raise ServerBusy(
                f"The proxy {self.host}:{self.port} of HARDPOSE_DOWNLOAD_PROXY gives no connection to "
                f"{address} port {port} ({type(error).__name__}).",
                "Check that it runs, takes the password and lets this port pass.",
            ) from error
