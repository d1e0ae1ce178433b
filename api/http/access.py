"""Who may do what: tokens, roles, and whether the API may listen where it is told to."""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from broker.errors import SettingsError
from broker.settings import Settings

MIN_TOKEN = 16
"""Characters. Random ones cannot be guessed through an API that answers some thousand times a minute."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_REMEDY = (
    "Write HARDPOSE_API_TOKENS as NAME:ROLES:TOKEN, several parted by spaces: "
    '"ana:review:$(openssl rand -hex 24)".'
)


class Role(StrEnum):
    """What a caller may do. All but ``read`` include ``read``; ``admin`` includes all."""

    READ = "read"
    ENQUEUE = "enqueue"
    """Start, cancel and retry jobs; order exports."""
    REVIEW = "review"
    ADMIN = "admin"
    """Delete jobs, videos and exports."""


def _with_implied(roles: Iterable[Role]) -> frozenset[Role]:
    given = frozenset(roles)
    return frozenset(Role) if Role.ADMIN in given else given | {Role.READ}


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    name: str
    roles: frozenset[Role]
    """With those that they include."""
    by_browser: bool = False
    """Whether a browser may have vouched for the caller by itself: by a cookie, or on an open API. Then a
    foreign page may be behind the request."""


LOCAL = Caller("local", frozenset(Role), by_browser=True)
"""Everybody, on an API that has no tokens and listens on loopback alone."""


@dataclass(frozen=True)
class TokenHolder:
    """A token's name and roles. The token itself is not kept."""

    caller: Caller
    digest: bytes = field(repr=False)
    """sha256 of the token."""
    session_key: bytes = field(repr=False)
    """Signs the holder's sessions: they end when the token is changed."""


@dataclass(frozen=True)
class Access:
    """The tokens of an API; none of them: it is open."""

    holders: tuple[TokenHolder, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> "Access":
        """Reads ``settings.api_tokens``.

        Raises:
            SettingsError: one cannot be used (it is named by its number, never shown), or there is none and
                the API would listen on more than loopback.
        """
        text = settings.api_tokens.get_secret_value() if settings.api_tokens else ""
        holders = tuple(_holder(number, entry) for number, entry in enumerate(text.split(), 1))
        _refuse_doubles(holders)
        if not holders and not is_loopback(settings.api_host):
            raise SettingsError(
                f"The API would be open to everybody who reaches {settings.api_host}: it has no tokens.",
                f"{_REMEDY} Or let it listen on 127.0.0.1.",
            )
        return cls(holders)

    @property
    def open(self) -> bool:
        """Whether anybody who reaches it may do anything."""
        return not self.holders

    def by_token(self, token: str) -> Caller | None:
        """Who holds ``token``. Takes as long whichever it is, and whether or not it is one."""
        digest = _digest(token)
        found = None
        for holder in self.holders:
            if hmac.compare_digest(holder.digest, digest):
                found = holder.caller
        return found

    def holder(self, name: str) -> TokenHolder | None:
        """The holder of that name."""
        return next((holder for holder in self.holders if holder.caller.name == name), None)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _holder(number: int, entry: str) -> TokenHolder:
    parts = entry.split(":", 2)
    if len(parts) != 3:
        raise SettingsError(f"Entry {number} of the API's tokens is no NAME:ROLES:TOKEN.", _REMEDY)
    name, roles, token = parts
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"Entry {number} of the API's tokens has no usable name.",
            "A name is made of letters, digits and ._@-, and has 64 characters at most.",
        )
    if len(token) < MIN_TOKEN or not _TOKEN.fullmatch(token):
        raise SettingsError(
            f"The API token of {name} is too short or has characters that no header can carry.",
            f"Take {MIN_TOKEN} characters of ASCII or more, such as `openssl rand -hex 24` writes.",
        )
    caller = Caller(name, _with_implied(_role(name, role) for role in roles.split("+")))
    key = hmac.digest(token.encode(), b"hardpose session", "sha256")
    return TokenHolder(caller, _digest(token), key)


def _role(name: str, text: str) -> Role:
    try:
        return Role(text)
    except ValueError as error:
        known = ", ".join(Role)
        # The text is not shown: where the order is mixed up, it is the token.
        raise SettingsError(
            f"A role of the API token of {name} is not known.", f"Roles are {known}, joined by +."
        ) from error


def _refuse_doubles(holders: tuple[TokenHolder, ...]) -> None:
    names = [holder.caller.name for holder in holders]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise SettingsError(f"Two API tokens have the name {double}.", "Give each a name of its own.")
    if len({holder.digest for holder in holders}) < len(holders):
        raise SettingsError("Two names have the same API token.", "Give each a token of its own.")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on ``host``."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
