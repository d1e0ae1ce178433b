"""A real worker of our app with one slow task: ``python slow_worker.py NOTES plain|device``.

The task notes when it begins and ends; ``give back`` refuses its message once, as a device that is away does.
Without a number of seconds it goes on until the test says so (``let_go``).
"""

import sys
import time
from pathlib import Path

from celery.exceptions import Reject

import broker.app
from broker.settings import load_settings

QUEUE = "slow"


def main() -> None:
    notes = Path(sys.argv[1])
    broker.app.SILENCE_SECONDS = 2  # type: ignore[attr-defined]
    settings = load_settings()
    if sys.argv[2] == "device":
        settings = settings.model_copy(update={"device": Path("none.toml")})
    app = broker.app.create_app(settings, (QUEUE,))

    @app.task(name="slow")
    def slow(name: str, seconds: float | None, back: bool = False) -> None:
        note(f"begin {name}")
        if seconds is None:
            while not _gate(notes, name).exists():
                time.sleep(0.02)
        else:
            time.sleep(seconds)
        if back and notes.read_text().count(f"begin {name}") == 1:
            note(f"back {name}")
            raise Reject("away", requeue=True)
        note(f"end {name}")

    def note(text: str) -> None:
        with notes.open("a") as file:
            file.write(f"{text}\n")

    pool = ("--pool=prefork", "--concurrency=1", "--without-gossip", "--without-mingle")
    app.worker_main(["worker", f"--queues={QUEUE}", "--loglevel=INFO", *pool])


def let_go(notes: Path, name: str) -> None:
    """Lets the task ``name`` of the worker with these notes end."""
    _gate(notes, name).touch()


def _gate(notes: Path, name: str) -> Path:
    return notes.with_name(f"{notes.name} go {name}")


if __name__ == "__main__":
    main()
