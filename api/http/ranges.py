"""Parts of a download: HTTP's Range and If-Range (RFC 9110, section 14), so that one cut off goes on."""

import re
from dataclasses import dataclass

from broker.errors import HardposeError

_ONE_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII | re.IGNORECASE)


class RangeBeyond(HardposeError):
    """A part was asked for that begins behind the end of the file."""

    code = "range_not_satisfiable"

    @classmethod
    def of(cls, asked: str, size: int) -> "RangeBeyond":
        """The error for the header ``asked`` of a file of ``size`` bytes."""
        return cls(
            f"{asked[:100]!r} is no part of a file of {size} bytes.",
            "If you have the whole file already, there is nothing left to fetch.",
        )


@dataclass(frozen=True)
class Part:
    """The bytes from ``start`` up to ``end`` (left out) of a file of ``size`` bytes."""

    start: int
    end: int
    size: int

    @property
    def content_range(self) -> str:
        """The header Content-Range of an answer 206."""
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


def part_of(size: int, asked: str | None, if_range: str | None, etag: str) -> Part | None:
    """The part that the headers ask for; None for the whole file.

    Several ranges, other units and what cannot be read ask for the whole file, as RFC 9110 allows; so does an
    If-Range that names another file than this one, or a date.

    Args:
        size: of the file, in bytes.
        asked: the header Range.
        if_range: the header If-Range.
        etag: the file's ETag, with its quotes.

    Raises:
        RangeBeyond: the range begins behind the end.
    """
    found = _ONE_RANGE.fullmatch(asked.strip()) if asked else None
    if asked is None or found is None or (if_range is not None and if_range.strip() != etag):
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:  # the last so many bytes
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise RangeBeyond.of(asked, size)
    return Part(start, end, size)


def matches(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match of ``header`` names ``etag``; weak and strong ones alike (section 13.1.2)."""
    if header is None:
        return False
    names = [name.strip().removeprefix("W/") for name in header.split(",")]
    return "*" in names or etag in names
