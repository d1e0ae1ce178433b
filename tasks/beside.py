"""Work in a thread beside the caller's, in order and bounded: pictures are read while the device works."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


@contextmanager
def thread_beside(name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool of one thread that ends with the ``with``; what has not begun by then is not done.

    One, so that the order is kept; the caller's thread stays the one that signals arrive in.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def made_ahead(
    pool: ThreadPoolExecutor, items: Iterable[Item], make: Callable[[Item], Made], most: int
) -> Iterator[tuple[Item, Future[Made]]]:
    """Each of ``items`` with what ``make`` makes of it, at most ``most`` of them begun before their turn."""
    begun: deque[tuple[Item, Future[Made]]] = deque()
    for item in items:
        begun.append((item, pool.submit(make, item)))
        if len(begun) > most:
            yield begun.popleft()
    yield from begun
