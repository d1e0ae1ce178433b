"""Lists of links: text, CSV, JSON lines, from a file or from standard input."""

import csv
import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from workers.downloads.errors import DownloadError, encodable

Kind = Literal["text", "csv", "tsv", "jsonl"]
"""How a list is written."""

KINDS: dict[str, Kind] = {
    ".txt": "text", ".list": "text", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip
"""Suffix of the file -> how it is written; of any other, its first line tells."""
_SEPARATORS: dict[str, Kind] = {"\t": "tsv", ",": "csv"}

LINK_NAMES = ("url", "link", "video", "video_url", "video_link")
"""Columns and keys that are taken for links where none is named, without regard to case."""

MAX_LINKS = 1_000_000
MAX_LINE = 16_384
"""Characters; RFC 9110, 4.1 asks servers for 8,000 at least."""
MAX_BYTES = 256 * 1024**2
"""Of a whole list: standard input may have no end."""

log = logging.getLogger(__name__)


class BadLinkList(DownloadError):
    """A list of links cannot be read."""

    code = "bad_link_list"


def read_links(source: Path | Literal["-"], column: str | None = None) -> list[str]:
    """The links of a list, in its order, with duplicates, none empty.

    Text has a link a line; empty lines and lines that begin with ``#`` are left out. CSV (``.csv``, ``.tsv``,
    or a first line with a comma and the name of a column in it) has a header. JSON lines (``.jsonl``,
    ``.ndjson``, or a first line that begins with ``{`` or ``"``) are strings, or objects with a key for the
    link. All are UTF-8, with or without a byte order mark.

    Args:
        source: the file, or ``-`` for standard input.
        column: of the CSV, or key of the JSON objects; by default the only one of ``LINK_NAMES``.

    Raises:
        BadLinkList: there is no such file, no such column, no link, a line that cannot be read, or too many.
    """
    name = "standard input" if source == "-" else str(source)
    with _opened(source, name) as file:
        numbered = _lines(file, name)
        first = next(numbered, None)
        if first is None:
            raise BadLinkList(f"{name} has no link in it.", "Write one link a line.")
        kind = KINDS.get(Path(source).suffix.lower()) if source != "-" else None
        kind = kind or _kind_of(first[1], column)
        links = _bounded(_links(kind, _chained(first, numbered), name, column), name)
    if not links:
        raise BadLinkList(f"{name} has no link in it.", "Write one link a line, or a row beneath the header.")
    log.info("%s: %s links", name, len(links))
    return links


def read_channels(source: Path) -> list[str]:
    """Channels of a text file, one a line; empty lines and lines that begin with ``#`` are left out.

    Raises:
        BadLinkList: the file cannot be read.
    """
    with _opened(source, str(source)) as file:
        lines = _links("text", _lines(file, str(source)), str(source), None)
        return _bounded(lines, str(source))


@contextmanager
def _opened(source: Path | Literal["-"], name: str) -> Iterator[IO[bytes]]:
    if source == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(source).open("rb") as file:
            yield file
    except OSError as error:
        raise BadLinkList(
            f"The list {name} cannot be read: {error.strerror}.", "Check its path and permissions."
        ) from error


def _lines(file: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Each line that is not empty, with its number from 1, without its end."""
    number = size = 0
    while raw := file.readline(4 * MAX_LINE):
        number, size = number + 1, size + len(raw)
        if size > MAX_BYTES:
            raise BadLinkList(f"{name} has more than {MAX_BYTES:,} bytes.", "Split the list into several.")
        try:
            # A line that is cut by the bound may end inside a character: too long is what is wrong with it.
            line = raw.decode("utf-8", "strict" if len(raw) < 4 * MAX_LINE else "ignore")
        except UnicodeDecodeError as error:
            raise BadLinkList(
                f"{name}, line {number}: not UTF-8 (byte {error.start + 1} of the line).",
                "Save the list as UTF-8.",
            ) from error
        line = line.removeprefix("\ufeff") if number == 1 else line
        if len(line) > MAX_LINE:
            raise BadLinkList(
                f"{name}, line {number}: longer than {MAX_LINE} characters.",
                "Write one link a line; give videos as arguments, not with --list.",
            )
        if "\0" in line:
            raise BadLinkList(
                f"{name}, line {number}: not text.", "Give videos as arguments, not with --list."
            )
        if line.strip():
            yield number, line.rstrip("\r\n")


def _chained(first: tuple[int, str], rest: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from rest


def _kind_of(first: str, column: str | None) -> Kind:
    """How a list is written whose name does not tell, from its first line."""
    wanted = {*LINK_NAMES, (column or LINK_NAMES[0]).lower()}
    for separator, kind in _SEPARATORS.items():
        names = {cell.strip(' "').lower() for cell in first.split(separator)}
        # A header of a single column is one as well: no link looks like that.
        if names & wanted and (len(names) == 1 or separator in first):
            return kind
    return "jsonl" if first.lstrip().startswith(("{", '"')) else "text"


def _links(
    kind: Kind, lines: Iterator[tuple[int, str]], name: str, column: str | None
) -> Iterator[tuple[int, str]]:
    """The number of the line and the link."""
    if kind == "text":
        return ((number, text) for number, line in lines if not (text := line.strip()).startswith("#"))
    if kind == "jsonl":
        return _of_json(lines, name, column)
    return _of_table(lines, name, column, "\t" if kind == "tsv" else ",")


def _of_table(
    lines: Iterator[tuple[int, str]], name: str, column: str | None, separator: str
) -> Iterator[tuple[int, str]]:
    at = 0

    def texts() -> Iterator[str]:
        nonlocal at
        for at, line in lines:  # noqa: B007 - read outside: a cell may span lines, so csv cannot tell
            yield line + "\n"

    rows = csv.reader(texts(), delimiter=separator, strict=True)
    try:
        header = [cell.strip() for cell in next(rows)]
        index = header.index(_column(header, column, f"{name}, line {at}"))
        for row in rows:
            if index < len(row) and row[index].strip():
                yield at, row[index].strip()
    except csv.Error as error:
        raise BadLinkList(f"{name}, line {at}: no CSV: {error}.", "Check the quotation marks.") from error


def _of_json(lines: Iterator[tuple[int, str]], name: str, column: str | None) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        where = f"{name}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            fault = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            raise BadLinkList(f"{where}: no JSON: {fault}.", "Write one JSON value a line.") from error
        link = value.get(_column(list(value), column, where)) if isinstance(value, dict) else value
        if not isinstance(link, str) or not link.strip():
            raise BadLinkList(
                f"{where}: a {type(link).__name__} where a link should be.",
                'Write each line as "LINK" or {"url": "LINK"}.',
            )
        yield number, link.strip()


def _column(names: list[str], column: str | None, where: str) -> str:
    """The column or key that holds the links."""
    if column is not None:
        found = [name for name in names if name == column]
        found = found or [name for name in names if name.lower() == column.lower()]
        wanted = f"no column {column!r}"
    else:
        found = [name for name in names if name.lower() in LINK_NAMES]
        wanted = "no column with a name such as url or link"
    if len(found) == 1:
        return found[0]
    if found:
        wanted = f"several columns may hold the links: {_named(found)}"
    raise BadLinkList(f"{where}: {wanted}; there are: {_named(names)}.", "Name it with --column.")


def _named(names: Iterable[str]) -> str:
    """Names of columns for a message. Without a header the names are links, which may hold a password."""
    odd = re.compile("[/@?]")
    shown = ["(no name: is the header missing?)" if odd.search(n) else f"{n[:40]!r}" for n in names]
    return ", ".join(shown[:20]) or "none"


def _bounded(links: Iterator[tuple[int, str]], name: str) -> list[str]:
    found: list[str] = []
    for number, link in links:
        if len(found) >= MAX_LINKS:
            raise BadLinkList(
                f"{name}, line {number}: more than {MAX_LINKS:,} links.", "Split the list into several jobs."
            )
        found.append(encodable(link))
    return found
