"""WebDataset: tar files of samples, ``NAME.jpg``, ``NAME.mask.png``, ``NAME.device.png``, ``NAME.json``.

After https://github.com/webdataset/webdataset: the files of a sample follow each other and share what stands
before the first dot.
"""

import io
import tarfile
from pathlib import Path
from typing import Any

from tasks.dataset.pictures import Store
from tasks.dataset.text import json_bytes
from tasks.exports.choice import Choice
from tasks.exports.picked import SPLITS, Picked
from tasks.exports.pictures import read_pictures, told_of

SAMPLES = 1000
"""Most samples of a shard."""
SHARD_BYTES = 256 * 1024**2
"""A shard that has as many bytes is closed."""
BLOCK = 512
"""Tar pads each file to whole blocks, and puts one before it (POSIX.1-1988, ustar)."""


def write_shards(choice: Choice, store: Store, folder: Path) -> dict[str, Any]:
    """Writes ``SPLIT-000000.tar`` and so on, by video and time: shuffling is the loader's.

    Raises:
        ArtifactMissing, PictureUnusable: see ``read_pictures``.
    """
    shards: dict[str, int] = {}
    for split in SPLITS:
        writer = _Shards(folder, split)
        for frame in choice.of(split):
            writer.add(frame.name, _sample(frame, store))
        writer.close()
        if writer.count:
            shards[split] = writer.count
    return {"shards": shards}


def _sample(frame: Picked, store: Store) -> dict[str, bytes]:
    pictures = read_pictures(frame, store)
    told = {**told_of(frame), "width": pictures.width, "height": pictures.height}
    told |= {
        "measures": dict(zip(*frame.measures, strict=True)),
        "keypoints_body_25": frame.keypoints.tolist(),
    }
    sample = {"jpg": pictures.jpeg, "mask.png": pictures.teacher.png}
    if pictures.device is not None:
        sample["device.png"] = pictures.device.png
    return {**sample, "json": json_bytes(told)}


class _Shards:
    """The shards of one split."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder = folder
        self._split = split
        self._tar: tarfile.TarFile | None = None
        self._samples = 0
        self._bytes = 0
        self.count = 0

    def add(self, name: str, sample: dict[str, bytes]) -> None:
        if self._tar is None:
            path = self._folder / f"{self._split}-{self.count:06d}.tar"
            self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - see close
            self.count += 1
        for suffix, data in sample.items():
            entry = tarfile.TarInfo(f"{name}.{suffix}")  # whose time and owner are 0
            entry.size, entry.mode = len(data), 0o644
            self._tar.addfile(entry, io.BytesIO(data))
            self._bytes += BLOCK + -(-len(data) // BLOCK) * BLOCK
        self._samples += 1
        if self._samples >= SAMPLES or self._bytes >= SHARD_BYTES:
            self.close()

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()
        self._tar, self._samples, self._bytes = None, 0, 0
