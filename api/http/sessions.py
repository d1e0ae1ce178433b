"""Sessions of browsers: a signed cookie that says who and until when. There is no token in it."""

import base64
import binascii
import hmac
import time
from dataclasses import replace

from api.http.access import Access, Caller

COOKIE = "hardpose_session"
SECONDS = 12 * 3600
"""A working day."""


def issue(access: Access, caller: Caller) -> str:
    """The value of a cookie for ``caller``: name, expiry (Unix seconds) and a signature.

    Raises:
        KeyError: the caller holds no token.
    """
    holder = access.holder(caller.name)
    if holder is None:
        raise KeyError(caller.name)
    name = base64.urlsafe_b64encode(caller.name.encode()).decode().rstrip("=")
    content = f"{name}.{int(time.time()) + SECONDS}"
    return f"{content}.{_signature(holder.session_key, content)}"


def read(access: Access, cookie: str) -> Caller | None:
    """Whose cookie it is; None if it is none of ours, has expired, or its holder's token was changed."""
    content, _, signature = cookie.rpartition(".")
    name, _, expiry = content.partition(".")
    holder = access.holder(_decoded(name))
    if holder is None or not cookie.isascii():
        return None
    if not hmac.compare_digest(_signature(holder.session_key, content), signature):
        return None
    if int(expiry) < time.time():  # ours by its signature, so it is a number
        return None
    return replace(holder.caller, by_browser=True)


def _signature(key: bytes, content: str) -> str:
    return hmac.digest(key, content.encode("utf-8", "replace"), "sha256").hex()


def _decoded(name: str) -> str:
    try:
        return base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except (binascii.Error, UnicodeError, ValueError):
        return ""
