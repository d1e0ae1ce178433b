"""The bytes of one segment's pictures: in the artifact store, and in memory for the stages that follow."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from broker.artifacts import Artifacts
from broker.messages import Segment

TRANSFERS = 4
"""Pictures on their way at once, to a store that is no folder: a request there is mostly waiting."""
AHEAD = 8
"""Pictures that are fetched before they are asked for; bounds memory to so many encoded frames."""


class FrameStore:
    """Encoded pictures by artifact key; knows nothing of their coding, so a device's worker needs no OpenCV.

    Keeps the *encoded* bytes of what was written (a 1080p frame is 0.4 MB as JPEG, 6 MB as pixels), so a
    group of fused stages reads nothing back from the store, and sees the very pixels that a stage on
    another machine would see.

    Inside a ``with``, writing to a store that is not a folder goes on while the stage works, and what it is
    told to ``expect`` is fetched ahead. The end of the ``with`` waits for everything that was written, and
    raises what went wrong with it; what has not begun by then is not tried, nor after an error of the stage.
    Outside of one, each call waits for itself.

    Args:
        artifacts: the store.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._written: dict[str, bytes] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._going: list[Future[None]] = []
        self._expected: deque[str] = deque()
        self._coming: dict[str, Future[bytes]] = {}

    def __enter__(self) -> Self:
        if self._artifacts.remote:
            self._pool = ThreadPoolExecutor(TRANSFERS, thread_name_prefix="pictures")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        pool, self._pool = self._pool, None
        going, self._going = self._going, []
        self._expected.clear()
        coming, self._coming = self._coming, {}
        if pool is None:
            return
        for future in coming.values():
            future.cancel()
        try:
            if kind is None:  # what has ended the stage is not hidden behind a picture that was not stored
                _raise_first(wait(going, return_when=FIRST_EXCEPTION).done)
        finally:  # a store that is away would cost each of the others its minute of trials, too
            pool.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def source(self, segment: Segment) -> Iterator[Path]:
        """A local path of the segment's video, valid inside the ``with``."""
        with self._artifacts.local_path(segment.video.artifact) as path:
            yield path

    def put(self, key: str, encoded: bytes) -> None:
        """Stores a PNG or JPEG.

        Raises:
            HardposeError: of the store; inside a ``with`` possibly that of a picture before this one.
        """
        if self._pool is None:
            self._artifacts.put(key, encoded)
        else:
            _raise_first(done for done in self._going if done.done())
            self._going = [going for going in self._going if not going.done()]
            self._going.append(self._pool.submit(self._artifacts.put, key, encoded))
        self._written[key] = encoded

    def expect(self, keys: Iterable[str]) -> None:
        """Says which pictures will be asked for, in this order; one that never is costs a request."""
        self._expected = deque(key for key in keys if key not in self._written)
        self._fetch_ahead()

    def get(self, key: str) -> bytes:
        """The stored picture's bytes.

        Raises:
            ArtifactMissing: it is not there.
        """
        known = self._written.get(key)
        if known is not None:
            return known
        coming = self._coming.pop(key, None)
        self._fetch_ahead()
        return coming.result() if coming is not None else self._artifacts.get(key)

    def _fetch_ahead(self) -> None:
        while self._pool is not None and self._expected and len(self._coming) < AHEAD:
            key = self._expected.popleft()
            self._coming[key] = self._pool.submit(self._artifacts.get, key)


def _raise_first(done: Iterable[Future[None]]) -> None:
    for each in done:
        each.result()
