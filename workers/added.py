"""The weights that a user has brought to this machine with ``hardpose models add``."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from broker.errors import WeightsError
from broker.recipe import WeightsRef
from workers.downloads.files import locked, publish, room_needed

FOLDER = "added"
"""Below the weights folder: one JSON file for each model, the newest weights last."""


@dataclass(frozen=True)
class AddedWeights:
    """One weights file of one model, as it was added.

    Attributes:
        model: entry point name of the model.
        ref: its file; ``ref.source`` is ``added:MODEL/FILE``.
        version: the official file's stem, or ``custom-`` and eight digits of the hash.
        official: whether its MD5 is one that the authors publish.
        given_from: the file name or the link (without a password) that it came from.
        accepted_at: when the licence was accepted, UTC, ISO 8601; empty when it asks for nothing.
        added_at: UTC, ISO 8601.
    """

    model: str
    ref: WeightsRef
    version: str
    official: bool
    given_from: str
    accepted_at: str = ""
    added_at: str = ""


def remember(folder: Path, added: AddedWeights) -> None:
    """Makes ``added`` the weights that new recipes with its model use.

    Args:
        folder: the weights folder.
        added: its bytes are in the store already.

    Raises:
        WeightsError: what was remembered before cannot be read.
        DiskFull: no room for it.
    """
    file = _file(folder, added.model)
    with room_needed(file.parent), locked(file.with_suffix(".lock")):
        others = [old for old in history(folder, added.model) if old.ref.sha256 != added.ref.sha256]
        rows = [{**asdict(row), "ref": row.ref.model_dump(mode="json")} for row in (*others, added)]
        part = file.with_suffix(".part")
        part.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        publish(part, file)


def history(folder: Path, model: str) -> list[AddedWeights]:
    """Everything that was added for ``model`` on this machine, the newest last.

    Raises:
        WeightsError: the file that remembers it cannot be read.
    """
    file = _file(folder, model)
    if not file.is_file():
        return []
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return [AddedWeights(**{**row, "ref": WeightsRef(**row["ref"])}) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"{file}, which remembers the weights of the model {model}, cannot be read: {error}.",
            "Delete it and add the weights again.",
        ) from error


def newest(folder: Path, model: str) -> AddedWeights | None:
    """The weights that new recipes with ``model`` use, or None when there are none yet."""
    rows = history(folder, model)
    return rows[-1] if rows else None


def models_with_weights(folder: Path) -> list[str]:
    """The models for which anything was ever added on this machine, sorted."""
    return sorted(file.stem for file in (Path(folder) / FOLDER).glob("*.json"))


def now() -> str:
    """The time, UTC, ISO 8601 in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _file(folder: Path, model: str) -> Path:
    return Path(folder) / FOLDER / f"{model}.json"
