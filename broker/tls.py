"""The broker over TLS: its certificate is checked, and that it is made out to the host that was asked."""

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from broker.broker_url import BrokerKind, BrokerUrl, parse_broker_url
from broker.errors import SettingsError

REMEDY = "Name the certificate authority's file with HARDPOSE_BROKER_CA; a check is never switched off."


def celery_tls(url: str, authority: Path | None) -> dict[str, Any] | None:
    """Celery's ``broker_use_ssl`` for ``url``; None where it speaks no TLS.

    kombu checks nothing on ``rediss://`` unless it is told to.

    Args:
        url: of the broker.
        authority: whose certificates are believed, PEM; None: those that the system believes.

    Raises:
        SettingsError: the URL cannot be used, the file is no certificate, or the URL asks for no check.
    """
    parts = _checked(url, authority)
    if parts.tls and parts.kind is BrokerKind.AMQP:
        host = parts.hosts[0][0]  # of several each its own: broker.amqp_transport
        return {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": _text(authority), "server_hostname": host}
    return tls_options(parts.tls, authority) or None


def redis_tls(url: str, authority: Path | None) -> dict[str, Any]:
    """What redis-py is told beside ``url``; nothing where it speaks no TLS.

    Raises:
        SettingsError: see ``celery_tls``.
    """
    return tls_options(_checked(url, authority).tls, authority)


def tls_options(tls: bool, authority: Path | None) -> dict[str, Any]:
    """redis-py's options of a connection over TLS; nothing without."""
    if not tls:
        return {}
    return {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_check_hostname": True,
        "ssl_ca_certs": _text(authority),
    }


def _checked(url: str, authority: Path | None) -> BrokerUrl:
    asked = [name for name in parse_qs(url.partition("?")[2]) if name.startswith("ssl")]
    if asked:
        raise SettingsError(f"The broker's URL sets {asked[0]}, which is set by its scheme.", REMEDY)
    parts = parse_broker_url(url)
    if parts.tls and authority is not None:
        _readable(authority)
    return parts


def _readable(authority: Path) -> None:
    try:
        ssl.create_default_context(cafile=authority)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"HARDPOSE_BROKER_CA={authority} is no certificate that can be read: {error}.",
            "Give the PEM file of the authority that has signed the broker's certificate.",
        ) from error


def _text(path: Path | None) -> str | None:
    return str(path.absolute()) if path is not None else None
