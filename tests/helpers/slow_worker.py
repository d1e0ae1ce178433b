"""A real worker of our app with one slow task: ``python slow_worker.py NOTES plain|device``.

The task notes when it begins and ends; ``give back`` refuses its message once, as a device that is away does.
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
    def slow(name: str, seconds: float, back: bool = False) -> None:
        note(f"begin {name}")
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


if __name__ == "__main__":
    main()
