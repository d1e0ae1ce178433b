"""A real worker of our app on RabbitMQ: ``python rabbit_worker.py NOTES QUEUE``. Its tasks note what they do.

``work`` takes its time, or without a number of seconds goes on until the file ``go NAME`` lies beside the
notes; ``back`` gives its message back so many times; ``again`` asks for so many later
tries; ``die`` kills its process at the first start.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from celery import Task
from celery.exceptions import Reject

from broker.app import create_app
from broker.settings import load_settings
from tasks.readable import ReadableTask


def main() -> None:
    notes, queue = Path(sys.argv[1]), sys.argv[2]
    app = create_app(load_settings(), (queue,))

    def note(text: str) -> int:
        """Notes it; says how often it was noted."""
        with notes.open("a") as file:
            file.write(f"{text}\n")
        return notes.read_text().splitlines().count(text)

    def task(run: Any) -> None:
        app.task(name=run.__name__, base=ReadableTask, bind=True, max_retries=9, default_retry_delay=1)(run)

    @task
    def work(self: Task, name: str, seconds: float | None = 0.0) -> None:
        note(f"begin {name}")
        while seconds is None and not notes.with_name(f"go {name}").exists():
            time.sleep(0.02)
        time.sleep(seconds or 0.0)
        note(f"end {name}")

    @task
    def back(self: Task, name: str, times: int) -> None:
        if note(f"begin {name}") <= times:
            raise Reject("not now", requeue=True)
        note(f"end {name}")

    @task
    def again(self: Task, name: str, times: int) -> None:
        if note(f"begin {name}") <= times:
            raise self.retry(countdown=1)
        note(f"end {name}")

    @task
    def die(self: Task, name: str) -> None:
        if note(f"begin {name}") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        note(f"end {name}")

    pool = ("--pool=prefork", "--concurrency=1", "--without-gossip", "--without-mingle")
    app.worker_main(["worker", f"--queues={queue}", "--loglevel=INFO", f"--hostname={queue}@%h", *pool])


if __name__ == "__main__":
    main()
