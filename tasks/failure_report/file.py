"""The file of a report: it replaces an older report, whole or not at all, and nothing else."""

import secrets
from pathlib import Path

from broker.errors import HardposeError
from tasks.dataset.folder import OutputUnusable

MARK = '<meta name="generator" content="hardpose report">'
"""Stands near the top of every such page; a file without it is not ours to replace."""


class ForeignFile(HardposeError):
    """The place of the report is taken by a file that is no report."""

    code = "foreign_file"


def refuse_foreign(path: Path) -> None:
    """Lets a place pass that is free, or has a report.

    Raises:
        ForeignFile: something else is there.
        OutputUnusable: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(500)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(path, error) from error
    if MARK.encode() not in start:
        raise ForeignFile(
            f"{path} is there already and is no failure report.",
            "Name another file with --out, or remove it.",
        )


def put_page(path: Path, page: bytes) -> None:
    """Writes the report under another name first, then renames it.

    Raises:
        OutputUnusable: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(page)
        part.replace(path)
    except OSError as error:
        raise _unusable(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def _unusable(path: Path, error: OSError) -> OutputUnusable:
    return OutputUnusable(f"{path} cannot be written: {error.strerror}.", "Name another file with --out.")
