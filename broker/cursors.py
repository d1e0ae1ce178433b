"""Paging by keyset: opaque cursors that name the last row of a page, bounds, texts that can be asked for."""

import base64
import binascii
import json
import math
from collections.abc import Sequence
from typing import NoReturn

from broker.frame_views import BadCursor

Key = str | int | float
MOST_ITEMS = 500
"""Of one page."""
_LONGEST = 4000
"""Characters of a cursor: three ids of 200 characters as JSON in base64 are less."""


def storable(text: str) -> bool:
    """Whether the books can hold ``text``: PostgreSQL takes no U+0000, nothing takes half a character.

    What cannot be held is found nowhere; asking the database for it would be an error of another kind.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def check_limit(limit: int) -> int:
    """Returns ``limit``.

    Raises:
        ValueError: if it is not in 1..500.
    """
    if not 1 <= limit <= MOST_ITEMS:
        raise ValueError(f"a page has 1 to {MOST_ITEMS} items, not {limit}")
    return limit


def pack(kind: str, key: Sequence[Key]) -> str:
    """The cursor behind the row of that key, in the list ``kind``."""
    record = json.dumps([kind, *key], separators=(",", ":"), allow_nan=False)
    return base64.urlsafe_b64encode(record.encode()).decode().rstrip("=")


def unpack(cursor: str, kind: str) -> list[Key]:
    """The key that ``pack`` was given.

    Raises:
        BadCursor: ``pack`` has never made it, or for another list.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        record = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True), parse_constant=_refuse)
    except (ValueError, binascii.Error, RecursionError) as error:
        raise bad_cursor(cursor) from error
    good = len(cursor) <= _LONGEST and isinstance(record, list) and record[:1] == [kind]
    if not good or not all(map(_is_key, record)):
        raise bad_cursor(cursor)
    return list(record[1:])


def typed(cursor: str, kind: str, types: Sequence[type[Key]]) -> list[Key]:
    """The key, each part of its type; a whole number may stand for a float.

    Raises:
        BadCursor: it has other parts.
    """
    key = unpack(cursor, kind)
    if len(key) != len(types) or not all(
        _is(part, kind_of) for part, kind_of in zip(key, types, strict=True)
    ):
        raise bad_cursor(cursor)
    return key


def bad_cursor(cursor: str) -> BadCursor:
    """What to raise for a cursor that cannot be read."""
    return BadCursor(
        f"{cursor[:40]!r} is no cursor of this list.",
        "Ask for the first page without a cursor, then go on with `next` of each, in the same order.",
    )


def _is(part: Key, kind: type[Key]) -> bool:
    return type(part) is kind or (kind is float and type(part) is int)


def _is_key(part: object) -> bool:
    if type(part) is str:
        return storable(part)
    if type(part) is int:
        return 0 <= part < 2**31
    return type(part) is float and math.isfinite(part)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no key")
