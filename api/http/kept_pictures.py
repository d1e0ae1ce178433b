"""The last small pictures, in memory: a page that scrolls back asks for them again."""

import threading
from collections import OrderedDict
from collections.abc import Callable

MAX_BYTES = 64 * 1024**2
"""Of one process: about 3,000 pictures of a gallery."""


class KeptPictures:
    """Pictures by key, the least recently used go first. Safe to share between threads.

    Args:
        max_bytes: of all pictures together; one that is larger than an eighth of it is not kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max = max_bytes
        self._held = 0
        self._pictures: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The picture under ``key``, made by ``make`` if it is not there. Two at once may both make it."""
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        made = make()
        if len(made) <= self._max // 8:
            self._keep(key, made)
        return made

    def clear(self) -> None:
        """Drops all: a video was removed, and what was made of it must go with it."""
        with self._lock:
            self._pictures.clear()
            self._held = 0

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return self._held

    def _keep(self, key: str, made: bytes) -> None:
        with self._lock:
            if key not in self._pictures:
                self._pictures[key] = made
                self._held += len(made)
            while self._held > self._max:
                _, dropped = self._pictures.popitem(last=False)
                self._held -= len(dropped)
