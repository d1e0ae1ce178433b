"""What is in a weights folder, hashed anew: files that were fetched or brought, and files made from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.recipe import WeightsRef
from workers import added
from workers.downloads.files import file_sha256
from workers.weights import WeightsRecord, WeightsStore, brought_for, how_to_mend

PIN = ".sha256"
"""Ending of the hash that ``WeightsStore.derived`` keeps beside what it made."""
FETCHED_AGAIN = "Nothing needs to be done: it is fetched when it is needed next."
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
    """Everything in the store whose content is known, each file of weights before what was made from it.

    Raises:
        WeightsError: what was added cannot be read.
    """
    known: dict[str, WeightsRecord | WeightsRef] = {ref.sha256: ref for ref in _in_use(store.folder)}
    known |= {record.sha256: record for record in store.records()}
    files: list[StoredFile] = []
    for sha256, weights in sorted(known.items(), key=lambda item: (item[1].file, item[0])):
        files += [_weights_file(store.folder, weights), *_made_from(store.folder, sha256)]
    return files


def _in_use(folder: Path) -> list[WeightsRef]:
    """What was brought and is used by new recipes; it has to be here, whatever the store knows of it."""
    newest = (added.newest(folder, model) for model in added.models_with_weights(folder))
    return [entry.ref for entry in newest if entry is not None]


def _weights_file(folder: Path, weights: WeightsRecord | WeightsRef) -> StoredFile:
    path = folder / f"{weights.sha256}{Path(weights.file).suffix}"
    gone = not path.is_file() and not brought_for(weights.source)
    remedy = FETCHED_AGAIN if gone else how_to_mend(weights.source)
    return StoredFile(path, weights.file, weights.sha256, weights.sha256, remedy)


def _made_from(folder: Path, sha256: str) -> Iterator[StoredFile]:
    for pin in sorted(folder.glob(f"{sha256}.*{PIN}")):
        path = pin.with_suffix("")
        if path.is_file():  # else its making was interrupted, and nobody uses it
            name = path.name.removeprefix(f"{sha256}.")
            yield StoredFile(path, name, sha256, pin.read_text(encoding="utf-8").strip(), MADE_AGAIN)
