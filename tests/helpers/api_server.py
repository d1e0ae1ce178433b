"""The HTTP API on a real socket, in a thread of the test's process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from api.http.server import listen, server_of
from broker.settings import Settings

PATIENCE = 200
"""Seconds for which a client of the tests waits: on a busy machine a process may stand still."""


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The URL of an API of ``settings`` that listens on a free port of 127.0.0.1."""
    server = server_of(settings)
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        limit = time.monotonic() + 120
        while not server.started:
            assert thread.is_alive() and time.monotonic() < limit, "the API does not start"
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(120)
            assert not thread.is_alive(), "the API does not end"
