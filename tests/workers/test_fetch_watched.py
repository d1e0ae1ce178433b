"""A direct fetch tells how far it is, and ends when its time is up, whatever the server does."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from patience import until

from broker.settings import Settings
from workers.downloads import errors
from workers.downloads import fetch as fetching
from workers.downloads.chain import fetch as chain_fetch
from workers.downloads.contracts import Fetched, FetchLimits, Unwatched
from workers.downloads.local import fetch

BODY = bytes(range(256)) * 1000
LIMITS = FetchLimits(10**6, 120, ("127.0.0.0/8",))
Serve = Callable[[socket.socket, threading.Event], None]


@contextmanager
def serving(serve: Serve) -> Iterator[str]:
    """The link of a server that does with each connection what it is told."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def one(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            try:
                serve(connection, over)
            except OSError:  # the client has left
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=one, args=(connection,), daemon=True))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/clip.mp4"
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(60)


def head(length: int | None, status: str = "200 OK", more: str = "") -> bytes:
    size = "" if length is None else f"Content-Length: {length}\r\n"
    return f"HTTP/1.1 {status}\r\n{size}{more}Connection: close\r\n\r\n".encode()


def in_two(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(head(len(BODY)) + BODY[:1000])
    over.wait(2 * fetching.MOVED_EVERY_SECONDS)
    connection.sendall(BODY[1000:])


def test_it_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    heard = threading.Event()

    def once_heard(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head(len(BODY)) + BODY[:1000])
        assert heard.wait(60)  # from then on it is silent for MOVED_EVERY_SECONDS
        over.wait(2 * fetching.MOVED_EVERY_SECONDS)
        connection.sendall(BODY[1000:])

    def moved(received: int, total: int | None) -> None:
        told.append((received, total))
        heard.set()

    with serving(once_heard) as link:
        fetch(link, tmp_path, LIMITS, moved)
    assert len(told) >= 2
    assert told == sorted(told)
    assert {total for _, total in told} == {len(BODY)}
    assert told[-1][0] > 1000


def test_the_chains_watcher_hears_of_a_direct_link(tmp_path: Path, settings: Settings) -> None:
    class Seen(Unwatched):
        received = 0

        def moved(self, received: int, total: int | None) -> None:
            self.received = received

    seen = Seen()
    with serving(in_two) as link:
        assert isinstance(chain_fetch(link, tmp_path, LIMITS, settings, seen), Fetched)
    assert seen.received > 0


def test_who_watches_can_end_it(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(received: int, total: int | None) -> None:
        raise Enough

    with serving(in_two) as link, pytest.raises(Enough):
        fetch(link, tmp_path, LIMITS, stop)


def dribbled_head(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not over.wait(0.05):
        connection.sendall(b"x")


def silent(connection: socket.socket, over: threading.Event) -> None:
    over.wait(600)


def silent_body(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(head(None) + BODY)  # no length: its end is that of the connection
    over.wait(600)


@pytest.mark.parametrize(
    "serve",
    [
        dribbled_head,  # each byte is in time
        silent,  # no byte at all, and the timeout of one read is longer
        silent_body,  # what is here by then is not the whole
    ],
)
def test_its_time_is_kept(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", httpx.Timeout(600.0))  # longer than this test may take
    before = threading.active_count()
    with serving(serve) as link, pytest.raises(errors.DownloadTimeout, match="within 1 s"):
        fetch(link, tmp_path, FetchLimits(10**6, 1.0, LIMITS.allow_networks))
    until(lambda: threading.active_count() <= before, "the end of its threads")


NINES = "9" * 5000
"""More digits than Python takes for a number."""


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (head(None, more=f"Content-Length: {NINES}\r\n"), errors.TransferCut),  # no HTTP
        (head(3, "206 Partial", f"Content-Range: bytes 0-{NINES}/{NINES}\r\n"), errors.TransferCut),
        (head(0, more="X-Many: x\r\n" * 100_000), errors.TransferCut),  # 1 MB of headers
    ],
)
def test_absurd_heads_are_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, kind: type[errors.DownloadError]
) -> None:
    monkeypatch.setattr(fetching, "BACKOFF_SECONDS", 0.01)
    with serving(lambda connection, over: connection.sendall(answer)) as link, pytest.raises(kind):
        fetch(link, tmp_path, LIMITS)
