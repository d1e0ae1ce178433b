"""Keeps links out of private networks: every address is checked, and the checked address is the one used."""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import httpx

from broker.errors import SettingsError
from workers.downloads.errors import BadLink, NameNotResolved, PrivateAddress, UnsupportedScheme

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Sequence[str]]
"""Host name and port to all its addresses, as text."""

REFUSED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        # IANA special-purpose registries (RFC 6890 and its updates), and multicast. Written out because
        # ``is_global`` changed its mind on some of them between Python releases.
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16",
        "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
NAT64 = IPv6Network("64:ff9b::/96")
"""Addresses whose last 32 bits are an IPv4 address (RFC 6052)."""
GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that IANA has given out as public IPv6; the rest is reserved, IPv4-translated (RFC 2765) included."""


def resolve(host: str, port: int) -> list[str]:
    """All addresses of ``host`` by the system's resolver.

    Raises:
        OSError: if there is none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class NetGuard:
    """Decides which addresses a link may reach.

    Attributes:
        allow_networks: private networks in CIDR form that the operator allows.
        resolver: how names become addresses.
        plain_http: whether ``http:`` may reach public addresses; allowed networks may always be reached so.
    """

    allow_networks: tuple[str, ...] = ()
    resolver: Resolver = resolve
    plain_http: bool = True
    _allowed: tuple[Network, ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        try:
            networks = tuple(ipaddress.ip_network(text, strict=False) for text in self.allow_networks)
        except ValueError as error:
            raise SettingsError(
                f"HARDPOSE_ALLOW_NETWORKS has an entry that is no network: {error}.",
                'Write networks like ["10.1.2.0/24"].',
            ) from error
        object.__setattr__(self, "_allowed", networks)

    def check_url(self, url: str) -> httpx.URL:
        """The parsed link.

        Raises:
            UnsupportedScheme: neither http nor https.
            BadLink: not parseable, without a host, or with a user name or password in it.
        """
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError) as error:
            # With an @ in it, the part that cannot be parsed may be a password.
            detail = "" if "@" in url else f": {error}".rstrip(".")
            raise BadLink(f"The link cannot be parsed{detail}.", "Give a complete http(s) link.") from error
        if parsed.scheme not in ("http", "https"):
            raise UnsupportedScheme(
                f"The link's scheme {parsed.scheme!r} is not supported.", "Give an http(s) link or a path."
            )
        if not parsed.host:
            raise BadLink("The link has no host.", "Give a complete http(s) address.")
        if parsed.userinfo:
            # The link travels through queue, catalog and data set: no place for a password.
            raise BadLink(
                f"The link to {parsed.host} carries a user name or password.", "Download it, give its path."
            )
        return parsed

    def addresses(self, url: httpx.URL) -> list[str]:
        """The host's addresses, every one of them checked.

        Raises:
            NameNotResolved: no address is known.
            PrivateAddress: at least one may not be reached: a name that answers with a private address
                among public ones is an attack or a mistake.
            UnsupportedScheme: plain http where only https is allowed.
        """
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = list(self.resolver(url.host, port))
        except (OSError, UnicodeError) as error:
            raise NameNotResolved(
                f"No address is known for {url.host}: {error}.", "Check the link and the network."
            ) from error
        if not found:
            raise NameNotResolved(f"No address is known for {url.host}.", "Check the link and the network.")
        for text in found:
            address = ipaddress.ip_address(text.partition("%")[0])
            self._check(url, address)
        return found

    def allows(self, address: str) -> bool:
        """Whether the address is in one of the networks that the operator allows by name."""
        faces = _faces(ipaddress.ip_address(address.partition("%")[0]))
        return any(_inside(face, self._allowed) for face in faces)

    def _check(self, url: httpx.URL, address: Address) -> None:
        faces = _faces(address)
        if any(_inside(face, self._allowed) for face in faces):
            return
        if not all(_public(face) for face in faces):
            raise PrivateAddress(
                f"The link leads to {url.host} at the address {address}, which is not a public one.",
                "An operator can allow a private network with HARDPOSE_ALLOW_NETWORKS.",
            )
        if url.scheme == "http" and not self.plain_http:
            raise UnsupportedScheme(f"{url.host} would be asked over plain http.", "Give an https link.")


def _inside(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST and address not in NAT64:
        return False
    return address.is_global and not _inside(address, REFUSED)


def _faces(address: Address) -> list[Address]:
    """The address and the IPv4 address that it embeds: mapped, 6to4 or NAT64."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    if address.sixtofour:
        return [address, address.sixtofour]
    if address in NAT64:
        return [address, IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]


class GuardedTransport(httpx.BaseTransport):
    """An HTTP transport that resolves once, checks, and connects to the very address it has checked.

    The Host header and the TLS name stay the link's, so certificates are verified as usual. Connections
    are not reused: another name on the same address would be spoken to under the first one's certificate.
    """

    def __init__(self, guard: NetGuard) -> None:
        self._guard = guard
        self._inner = httpx.HTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request to the first checked address that accepts a connection."""
        addresses = self._guard.addresses(request.url)
        for number, address in enumerate(addresses, start=1):
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                extensions={**request.extensions, "sni_hostname": request.url.host},
            )
            try:
                return self._inner.handle_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise AssertionError("addresses() never returns an empty list")

    def close(self) -> None:
        """Closes the connections."""
        self._inner.close()
