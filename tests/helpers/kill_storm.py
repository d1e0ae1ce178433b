"""Takers that are killed while messages stream through: ``python kill_storm.py BROKER_URL NOTES``.

Each is a process that takes a message, notes its number, and acknowledges it: it is killed somewhere in
between, or while it takes. Ends well when every number was noted and nothing is left.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kombu import Queue

from broker.app import create_app
from broker.control import Control
from broker.settings import Settings, load_settings

QUEUE = "storm"
ROUNDS = 30
"""In each some messages are sent, and a taker is killed while they are taken."""
EACH = 10
UNDER_WAY = 6
"""Messages of which nothing was noted yet when a taker is killed, at most: some are held by the dead."""
TAKERS = 3
SECONDS = 240.0
"""That a hopeless run lasts."""


def take(settings: Settings, notes: Path) -> None:
    """The life of a taker."""
    file = os.open(notes, os.O_WRONLY | os.O_APPEND)

    def work(body: object, message: object) -> None:
        os.write(file, f"{body}\n".encode())
        message.ack()  # type: ignore[attr-defined]

    with (
        create_app(settings) as app,
        app.connection_for_read() as connection,
        connection.Consumer([Queue(QUEUE)], callbacks=[work], prefetch_count=1),
    ):
        while True:
            with contextlib.suppress(TimeoutError):  # in which kombu looks for leases that have run out
                connection.drain_events(timeout=0.2)


def fork(settings: Settings, notes: Path) -> int:
    """A taker's process id."""
    if child := os.fork():
        return child
    try:
        take(settings, notes)
    finally:
        os._exit(1)


def kill(taker: int) -> None:
    """Ends it as a power cut does."""
    os.kill(taker, signal.SIGKILL)
    os.waitpid(taker, 0)


def main() -> None:
    """The storm, and the calm after it."""
    settings = load_settings(broker_url=sys.argv[1], visibility_timeout=2, namespace="storm")
    notes, deadline = Path(sys.argv[2]), time.monotonic() + SECONDS
    notes.touch()
    takers = [fork(settings, notes) for _ in range(TAKERS)]
    control = Control.of(settings)

    def wait_for(done: Callable[[set[str]], bool]) -> None:
        while not done(noted := set(notes.read_text().split())):
            if time.monotonic() > deadline:
                sys.exit(f"{len(noted)} messages are done, {control.messages([QUEUE])} are left")
            time.sleep(0.002)

    with create_app(settings) as app, app.connection_for_write() as connection:
        producer = connection.Producer()
        producer.publish("never quiet", routing_key="other")
        for number in range(ROUNDS * EACH):
            producer.publish(number, routing_key=QUEUE, serializer="json")
            if number % EACH == EACH - 1:
                wait_for(lambda noted, sent=number: len(noted) > sent - UNDER_WAY)  # type: ignore[misc]
                kill(takers.pop(0))
                takers.append(fork(settings, notes))
    everything = set(map(str, range(ROUNDS * EACH)))
    wait_for(lambda noted: noted == everything and not control.messages([QUEUE]))
    for taker in takers:
        kill(taker)


if __name__ == "__main__":
    main()
