"""The bytes of one segment's pictures: in the artifact store, and in memory for the stages that follow."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.artifacts import Artifacts
from broker.messages import Segment


class FrameStore:
    """Encoded pictures by artifact key; knows nothing of their coding, so a device's worker needs no OpenCV.

    Keeps the *encoded* bytes of what was written (a 1080p frame is 0.4 MB as JPEG, 6 MB as pixels), so a
    group of fused stages reads nothing back from the store, and sees the very pixels that a stage on
    another machine would see.

    Args:
        artifacts: the store.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._written: dict[str, bytes] = {}

    @contextmanager
    def source(self, segment: Segment) -> Iterator[Path]:
        """A local path of the segment's video, valid inside the ``with``."""
        with self._artifacts.local_path(segment.video.artifact) as path:
            yield path

    def put(self, key: str, encoded: bytes) -> None:
        """Stores a PNG or JPEG."""
        self._artifacts.put(key, encoded)
        self._written[key] = encoded

    def get(self, key: str) -> bytes:
        """The stored picture's bytes.

        Raises:
            ArtifactMissing: it is not there.
        """
        return self._written.get(key) or self._artifacts.get(key)
