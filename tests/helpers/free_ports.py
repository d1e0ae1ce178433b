"""Ports for servers of the tests that nobody takes between being chosen and being used."""

import random
import socket

PORTS = range(10_240, 22_000)
"""Below those that systems give to outgoing connections and to port 0 (Linux: from 32,768; RFC 6335: from
49,152), also with the 10,000 that SeaweedFS adds for a port's twin: no other process comes upon them by
itself."""


def free_port() -> int:
    """A port of 127.0.0.1 that is free, and its twin too; by chance: who asks meanwhile gets another."""
    draw = random.SystemRandom()
    while True:
        port = draw.choice(PORTS)
        if _is_free(port) and _is_free(port + 10_000):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
