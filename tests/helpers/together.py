"""Many processes that do one thing at the same moment."""

import multiprocessing
from typing import Any

FORK = multiprocessing.get_context("fork")  # also proves that a catalog may be carried over a fork


def run_together(target: Any, count: int, *arguments: Any) -> list[Any]:
    """Runs ``target(*arguments, n, start, answers)`` in ``count`` processes at once."""
    start, answers = FORK.Barrier(count), FORK.Queue()
    processes = [FORK.Process(target=target, args=(*arguments, n, start, answers)) for n in range(count)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=240) for _ in processes]
    for process in processes:
        process.join(120)
    assert all(process.exitcode == 0 for process in processes), found
    return found
