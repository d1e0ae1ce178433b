"""On which line of a TOML file each key stands; ``tomllib`` does not say."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any


def key_lines(text: str) -> dict[str, int]:
    """The line (from 1) on which each key and each table begins, by dotted name such as ``network.colours``.

    A statement of TOML ends with its line or later, so the beginning of a file up to some line either parses,
    and then holds whole statements only, or breaks off within one. What a beginning holds more than the one
    before it stands on the lines between. The cost is quadratic: for a page, not for a book.

    The keys of an inline table stand where it begins.

    Args:
        text: a whole file that parses.
    """
    lines: dict[str, int] = {}
    start, rows = 0, [f"{row}\n" for row in text.split("\n")]
    for end in range(1, len(rows) + 1):
        if not rows[start].strip() or rows[start].lstrip().startswith("#"):
            start = end
            continue
        found = _parsed("".join(rows[:end]))
        if found is None:
            continue
        for key in _keys(found):
            lines.setdefault(key, start + 1)
        start = end
    return lines


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _keys(table: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in table.items():
        yield above + key
        if isinstance(value, dict):
            yield from _keys(value, f"{above}{key}.")
