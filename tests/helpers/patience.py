"""Waiting for a condition, however long a slow machine takes; time limits that grow until they are enough."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE_SECONDS = 120.0
"""Far beyond what a busy machine needs, less than the limit of a test; costs nothing where all is well."""


def until(
    condition: Callable[[], Found],
    what: Callable[[], str] | str,
    seconds: float = PATIENCE_SECONDS,
    pause: float = 0.02,
) -> Found:
    """Waits until ``condition`` gives something true; returns that.

    Args:
        condition: asked again and again.
        what: is missed when it never comes; a function is asked then.
        seconds: of patience.
        pause: between two looks, seconds.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited too long for {what() if callable(what) else what}")
        time.sleep(pause)
    return found


def longer_and_longer(first: float, factor: float = 5.0, times: int = 4) -> Iterator[float]:
    """Time limits, for tests that let one run out, seconds: ``first``, then more and more.

    What has to happen before the limit runs out takes a moment on an idle machine and any time on a busy one:
    the test tries the next limit when it has not happened, and fails when none was enough.
    """
    for number in range(times):
        yield first * factor**number
    raise AssertionError(f"not even {first * factor ** (times - 1):g} s were enough")
