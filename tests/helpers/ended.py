"""A process that runs meanwhile, and is told to end afterwards."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 60


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """Ends ``process`` behind the ``with``: asks, and insists after ``PATIENCE_SECONDS``."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
