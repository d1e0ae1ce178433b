"""What is in a weights folder, hashed anew: files that were fetched or brought, and files made from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.downloads.files import file_sha256
from workers.weights import WeightsRecord, WeightsStore, how_to_mend

PIN = ".sha256"
"""Ending of the hash that ``WeightsStore.derived`` keeps beside what it made."""
MADE_AGAIN = "Nothing needs to be done: it is made anew when it is needed next."


@dataclass(frozen=True)
class StoredFile:
    """A file of the store and what it has to be.

    Attributes:
        path: where it is, or should be.
        file: the name under which it was published; of a file that was made, the name of what it is.
        weights: sha256 of the weights that it is, or that it was made from.
        expected: its own sha256, lower case.
        remedy: what to do when it is something else.
    """

    path: Path
    file: str
    weights: str
    expected: str
    remedy: str

    def hashed(self) -> str:
        """Its sha256 now, or ``missing``."""
        return file_sha256(self.path) if self.path.is_file() else "missing"


def stored_files(store: WeightsStore) -> list[StoredFile]:
    """Everything in the store whose content is known, each file of weights before what was made from it."""
    files: list[StoredFile] = []
    for record in store.records():
        files += [_weights_file(store.folder, record), *_made_from(store.folder, record.sha256)]
    return files


def _weights_file(folder: Path, record: WeightsRecord) -> StoredFile:
    path = folder / f"{record.sha256}{Path(record.file).suffix}"
    return StoredFile(path, record.file, record.sha256, record.sha256, how_to_mend(record.source))


def _made_from(folder: Path, sha256: str) -> Iterator[StoredFile]:
    for pin in sorted(folder.glob(f"{sha256}.*{PIN}")):
        path = pin.with_suffix("")
        if path.is_file():  # else its making was interrupted, and nobody uses it
            name = path.name.removeprefix(f"{sha256}.")
            yield StoredFile(path, name, sha256, pin.read_text(encoding="utf-8").strip(), MADE_AGAIN)
