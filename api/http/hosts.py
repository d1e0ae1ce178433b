"""Which names the API answers to, and which pages may send it something through a browser."""

import ipaddress
import socket
from urllib.parse import urlsplit

from api.http.access import is_loopback
from api.http.errors import BadHost, ForeignPage
from broker.settings import Settings

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Hosts:
    """Keeps foreign pages out: those that point a name of theirs at us (DNS rebinding), and those that post.

    Args:
        settings: ``api_host``, ``api_hosts`` and ``api_origins``.
    """

    def __init__(self, settings: Settings) -> None:
        names = {*LOOPBACK, settings.api_host, *settings.api_hosts}
        self._addresses = not is_loopback(settings.api_host)
        if self._addresses:
            names.add(socket.gethostname())
        self._names = {name.lower().strip("[]") for name in names}
        self._origins = {origin.lower().rstrip("/") for origin in settings.api_origins}

    def check(self, host: str) -> None:
        """Lets a request to one of our names pass.

        Args:
            host: the header ``Host``.

        Raises:
            BadHost: it is another's.
        """
        name = _name(host)
        # A page that rebinds a name is called by that name: an address in its place is no danger.
        if name in self._names or (self._addresses and _is_address(name)):
            return
        raise BadHost(
            f"This API does not answer for the host {name[:100]!r}.",
            "Call it by the address it listens on, or name the host in HARDPOSE_API_HOSTS.",
        )

    def check_page(self, host: str, origin: str | None, fetch_site: str | None) -> None:
        """Lets a request that changes something pass unless a foreign page has sent it.

        Programs send neither header; browsers do, and no page can forge them (Fetch Metadata; RFC 6454).

        Args:
            host: the header ``Host``.
            origin: the header ``Origin``.
            fetch_site: the header ``Sec-Fetch-Site``.

        Raises:
            ForeignPage: it has.
        """
        if origin is not None and origin.lower() in self._origins:
            return
        same = origin is None or _authority(origin) == host.lower()
        if not same or fetch_site not in (None, "same-origin", "none"):
            raise _foreign(origin)

    def check_reader(self, origin: str | None, fetch_site: str | None, fetch_mode: str | None) -> None:
        """Lets a request that only reads pass, unless a foreign page loads it as a part of its own.

        The page could not read the answer, but have us make it again and again. A link that is followed is
        no such part (Fetch Metadata, "resource isolation policy").

        Args:
            origin: the header ``Origin``.
            fetch_site: the header ``Sec-Fetch-Site``.
            fetch_mode: the header ``Sec-Fetch-Mode``.

        Raises:
            ForeignPage: it does.
        """
        if fetch_site in (None, "same-origin", "none") or fetch_mode == "navigate":
            return
        if origin is None or origin.lower() not in self._origins:
            raise _foreign(origin)


def _foreign(origin: str | None) -> ForeignPage:
    return ForeignPage(
        f"The page {(origin or 'of another site')[:100]} may not call this API.",
        "Use the API's own pages, or name the page's origin in HARDPOSE_API_ORIGINS.",
    )


def _name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
