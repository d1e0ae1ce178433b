"""Text from users and web sites, made fit for files that other people open."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

Cell = str | int | float | None

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet runs a cell that starts so (OWASP, "CSV Injection")."""


def public_source(source: str) -> str:
    """A link without user name and password, or the bare name of a file.

    The folders of a local path say more about the machine of whoever made the data set than about the
    data set.
    """
    if "://" not in source:
        return PureWindowsPath(PurePosixPath(source).name).name or source
    parts = urlsplit(source)
    if parts.scheme == "file":
        return PurePosixPath(unquote(parts.path)).name or source
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def safe_cell(value: Cell) -> Cell:
    """``value``, with an apostrophe before a text that a spreadsheet would run as a formula."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value
    return value


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """A CSV file: UTF-8, commas, one line feed a row, no formula in any cell."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([safe_cell(value) for value in row])
    return text.getvalue().encode()


def json_bytes(value: Any) -> bytes:
    """A JSON file: UTF-8, one space of indent, no NaN."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
