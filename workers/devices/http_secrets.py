"""A device's bearer token and certificate authority, from the files that its description names."""

import logging
import re
import ssl
import stat
from pathlib import Path

import httpx

from workers.devices.description import DeviceDescription

log = logging.getLogger(__name__)

MOST_BYTES = 4096
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
"""RFC 6750, 2.1."""


def read_token(description: DeviceDescription) -> str:
    """The token of an ``[http]`` device; empty where none is described. Its text is in no error.

    Raises:
        DeviceMisdescribed: its file cannot be read, can be read by others, or holds no token.
    """
    given = description.connection.get("token_file")
    if not given:
        return ""
    if not _is_https(description):
        log.warning(
            "%s: whoever listens on the way reads the token; use https.", description.place("http.url")
        )
    return token_in(Path(given), description)


def token_in(path: Path, description: DeviceDescription) -> str:
    """The token in ``path``. Errors as of ``read_token``."""
    key = "http.token_file"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        data = path.read_bytes()[: MOST_BYTES + 1]
    except OSError as error:
        raise description.wrong(key, f"{path} cannot be read ({error.strerror}).", "Give a file.") from error
    if mode & 0o077:
        raise description.wrong(
            key, f"{path} can be read by others (mode {mode:04o}).", f"Keep it for yourself: chmod 600 {path}"
        )
    token = data.decode("ascii", "replace").strip()
    if len(data) > MOST_BYTES or not _TOKEN.fullmatch(token):
        raise description.wrong(
            key,
            f"{path} holds no bearer token.",
            "Write the token alone: letters, digits and . _ ~ + / - (RFC 6750).",
        )
    return token


def tls_context(description: DeviceDescription) -> ssl.SSLContext:
    """Always with verification: against the described authority, else the system's.

    Raises:
        DeviceMisdescribed: the authority's file cannot be read or is no PEM.
    """
    given = description.connection.get("ca")
    if not given and not _is_https(description):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody; the system's authorities are many
    try:
        return ssl.create_default_context(cafile=str(given) if given else None)
    except OSError as error:  # ssl.SSLError is one
        raise description.wrong(
            "http.ca",
            f"{given} is no certificate authority ({error.strerror}).",
            "Give the PEM file of the authority that signed the device's certificate.",
        ) from error


def _is_https(description: DeviceDescription) -> bool:
    return httpx.URL(str(description.connection["url"])).scheme == "https"
