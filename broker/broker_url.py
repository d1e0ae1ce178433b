"""The one place that understands broker URLs: which kind of broker it is, and where.

======================================================  ================================================
``redis://[USER:PASSWORD@]HOST[:PORT][/DB]``            Redis or Valkey; ``rediss://`` over TLS
``redis+sentinel://[USER:PASSWORD@]HOST[:PORT]          the master of SERVICE, as the Sentinels on these
[,HOST[:PORT]...]/SERVICE[/DB]``                        hosts say; ``rediss+sentinel://`` over TLS
``amqp://[USER:PASSWORD@]HOST[:PORT]                    RabbitMQ; ``amqps://`` over TLS. Of a cluster several
[,HOST[:PORT]...][/VHOST]``                             nodes: the next is asked when one is away
======================================================  ================================================

What is special in a user, a password or a virtual host is percent-encoded (RFC 3986). The form of Sentinel is
that of the package ``limits``. Sentinels with another user or password than their Redis are told so by
``?sentinel_username=...&sentinel_password=...``, those with none by ``?sentinel_password=``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import NoReturn
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from broker.errors import SettingsError

BROKER_VARIABLE, CONTROL_VARIABLE = "HARDPOSE_BROKER_URL", "HARDPOSE_CONTROL_URL"
PORTS = {"redis": 6379, "rediss": 6379, "redis+sentinel": 26379, "rediss+sentinel": 26379}
PORTS |= {"amqp": 5672, "amqps": 5671}
"""The servers' own; of a Sentinel: Redis documentation, "High availability with Redis Sentinel"."""
REMEDY = (
    "Write redis://HOST:6379/0 (Valkey too), rediss:// over TLS, "
    "redis+sentinel://HOST:26379,HOST:26379/SERVICE/0, or amqp://HOST:5672/VHOST (of a cluster "
    "amqp://HOST:5672,HOST:5672/VHOST); a user and a password stand once before the hosts (USER:PASSWORD@), "
    "percent-encoded."
)
_SECOND_URL = re.compile(r";\s*[a-z0-9+.-]+://", re.IGNORECASE)
_SENTINEL_OPTIONS = {"sentinel_username", "sentinel_password"}


class BrokerKind(StrEnum):
    """What speaks at the other end."""

    REDIS = "redis"
    SENTINEL = "sentinel"
    AMQP = "amqp"

    @property
    def in_redis(self) -> bool:
        """Whether the messages are keys of a Redis, whoever says which one that is."""
        return self is not BrokerKind.AMQP


_SCHEMES = {
    "redis": (BrokerKind.REDIS, False),
    "rediss": (BrokerKind.REDIS, True),
    "redis+sentinel": (BrokerKind.SENTINEL, False),
    "rediss+sentinel": (BrokerKind.SENTINEL, True),
    "amqp": (BrokerKind.AMQP, False),
    "amqps": (BrokerKind.AMQP, True),
}
"""The kind, and whether it speaks TLS."""


@dataclass(frozen=True)
class BrokerUrl:
    """A broker URL in its parts. Its text form shows no password."""

    kind: BrokerKind
    tls: bool
    """Over TLS; with Sentinel: both the Sentinels and the Redis that they name."""
    hosts: tuple[tuple[str, int], ...]
    """Names or addresses, and ports; more than one only of Sentinels and of the nodes of a RabbitMQ."""
    user: str | None
    password: str | None = field(repr=False)
    place: str
    """The database's number in Redis, the virtual host in RabbitMQ; "" where the URL names none."""
    service: str = ""
    """What the Sentinels call their master."""
    sentinel_user: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @cached_property
    def database(self) -> int:
        """The database's number in Redis."""
        return int(self.place or 0)

    @property
    def places(self) -> str:
        """The hosts as they stand in the URL, each with its port."""
        return _hosts(self.hosts)

    @property
    def shown(self) -> str:
        """The URL without user and password, for messages and pages."""
        tail = "/".join(part for part in (self.service, self.place) if part)
        return f"{_scheme(self.kind, self.tls)}://{self.places}/{tail}"

    @property
    def kombu(self) -> str:
        """The URL as Celery is given it, password included: never log it.

        Of several nodes kombu wants whole URLs, and asks one after the other. It has a scheme of its own for
        Sentinel, of which it is told the rest by options; one host is enough there
        (``broker.sentinels.transport_options``), and Flower looks at no other.
        """
        scheme = "sentinel" if self.kind is BrokerKind.SENTINEL else _scheme(self.kind, self.tls)
        hosts = self.hosts[:1] if self.kind is BrokerKind.SENTINEL else self.hosts
        before, place = f"{scheme}://{_credentials(self.user, self.password)}", quote(self.place, safe="")
        return ";".join(f"{before}{_hosts([host])}/{place}" for host in hosts)


def kind_of(url: str) -> BrokerKind:
    """The kind of a broker URL, by its scheme alone.

    Raises:
        SettingsError: there is no such kind. The URL is not in its words.
    """
    scheme, mark, _ = url.partition("://")
    return _kind(scheme.lower() if mark else "", BROKER_VARIABLE)[0]


def parse_broker_url(url: str, variable: str = BROKER_VARIABLE) -> BrokerUrl:
    """The parts of a broker URL.

    Args:
        url: as the user wrote it.
        variable: where he wrote it, for the error.

    Raises:
        SettingsError: names the part that cannot be used, never the password.
    """
    if _SECOND_URL.search(url):
        _refuse(variable, "holds more than one URL")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        _refuse(variable, f"is no URL ({error})")
    kind, tls = _kind(parts.scheme, variable)
    before, _, places = parts.netloc.rpartition("@")
    user, _, password = before.partition(":")
    hosts = tuple(_host(place, PORTS[parts.scheme], variable) for place in places.split(","))
    if len(hosts) > 1 and kind is BrokerKind.REDIS:
        _refuse(variable, f"names {len(hosts)} hosts, and only Sentinels and RabbitMQ's nodes may be several")
    service, place = _path(parts, kind, variable)
    account = unquote(user) or None, unquote(password) or None
    greeting = _of_sentinels(parts, kind, account, variable)
    return BrokerUrl(kind, tls, hosts, *account, place, service, *greeting)


def _kind(scheme: str, variable: str) -> tuple[BrokerKind, bool]:
    """The kind, and whether it speaks TLS."""
    found = _SCHEMES.get(scheme)
    if found is None:
        begins = f"begins with {scheme}://" if scheme else "does not begin with a scheme such as redis://"
        _refuse(variable, begins)
    return found


def _scheme(kind: BrokerKind, tls: bool) -> str:
    return next(scheme for scheme, found in _SCHEMES.items() if found == (kind, tls))


def _host(place: str, port: int, variable: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place.strip()}")
        return parts.hostname or "localhost", parts.port or port
    except ValueError:
        _refuse(variable, "has a port that is no number from 1 to 65535, or a password that is not encoded")


def _path(parts: SplitResult, kind: BrokerKind, variable: str) -> tuple[str, str]:
    """The service, and the database or the virtual host."""
    path = parts.path.removeprefix("/")
    if kind is BrokerKind.AMQP:
        return "", unquote(path)
    service = ""
    if kind is BrokerKind.SENTINEL:
        service, _, path = path.partition("/")
        if not service:
            _refuse(variable, "does not name the Sentinels' service")
    if path and not re.fullmatch(r"[0-9]{1,5}", path):
        _refuse(variable, f"has {path!r} where the database's number stands")
    return unquote(service), path


def _of_sentinels(
    parts: SplitResult, kind: BrokerKind, account: tuple[str | None, str | None], variable: str
) -> tuple[str | None, str | None]:
    """User and password of the Sentinels: those of their Redis, unless the URL says otherwise."""
    told = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    known = _SENTINEL_OPTIONS if kind is BrokerKind.SENTINEL else set[str]()
    if strange := sorted(set(told) - known):
        _refuse(variable, f"sets {strange[0]}, which is unknown here")
    if kind is not BrokerKind.SENTINEL:
        return None, None
    user, password = account
    if "sentinel_password" in told:
        user, password = None, told["sentinel_password"]
    return told.get("sentinel_username") or user, password or None


def _hosts(hosts: Sequence[tuple[str, int]]) -> str:
    return ",".join(f"{f'[{name}]' if ':' in name else name}:{port}" for name, port in hosts)


def _credentials(user: str | None, password: str | None) -> str:
    if user is None and password is None:
        return ""
    return f"{quote(user or '', safe='')}:{quote(password or '', safe='')}@"


def _refuse(variable: str, fault: str) -> NoReturn:
    raise SettingsError(f"The URL in {variable} {fault}.", REMEDY)
