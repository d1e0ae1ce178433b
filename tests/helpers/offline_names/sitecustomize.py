"""Imported by every Python process that has this folder on PYTHONPATH: gives some names public addresses.

``OFFLINE_NAMES`` is a JSON object of domains and addresses (see ``fake_youtube.FakeYouTube.environment``).
There is no other way into a worker process that a test starts from outside.
"""

import json
import os
import socket

NAMES = json.loads(os.environ.get("OFFLINE_NAMES", "{}"))
_real = socket.getaddrinfo


def getaddrinfo(host, port, *arguments, **options):
    """The system's answer, but for the domains in ``OFFLINE_NAMES``."""
    for domain, address in NAMES.items():
        if isinstance(host, str) and (host == domain or host.endswith(f".{domain}")):
            return _real(address, port, *arguments, **options)
    return _real(host, port, *arguments, **options)


if NAMES:
    socket.getaddrinfo = getaddrinfo
