"""Is a media file whole? Walks the outermost boxes of its container and compares them with its size."""

from pathlib import Path
from typing import BinaryIO

MP4_FIRST_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
"""Box types that an MP4 or QuickTime file may begin with (ISO/IEC 14496-12 and the QuickTime File Format)."""
MP4_LATER_BOXES = MP4_FIRST_BOXES | {
    b"moof",
    b"mfra",
    b"sidx",
    b"ssix",
    b"prft",
    b"emsg",
    b"meta",
    b"uuid",
    b"udta",
}
"""Box types that may follow the index and the first pictures."""
EBML_MAGIC = b"\x1a\x45\xdf\xa3"
"""First bytes of Matroska and WebM (RFC 8794)."""
MATROSKA_SEGMENT = b"\x18\x53\x80\x67"
"""Id of the one element that holds everything after the EBML header (RFC 9559)."""


def find_cut(path: Path) -> str | None:
    """What is missing at the end of the file, or None when nothing is known to be missing.

    Knows MP4/QuickTime, Matroska/WebM and AVI; any other file counts as whole.

    Args:
        path: an existing, readable file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(0)
        if head[4:8] in MP4_FIRST_BOXES:
            return _cut_in_mp4(file, size)
        if head[:4] == EBML_MAGIC:
            return _cut_in_matroska(file, size)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return _missing(int.from_bytes(head[4:8], "little") + 8, size)
    return None


def _missing(needed: int, size: int) -> str | None:
    return f"{needed - size} of {needed} bytes are missing" if needed > size else None


def _cut_in_mp4(file: BinaryIO, size: int) -> str | None:
    position = 0
    seen: set[bytes] = set()
    while position < size:
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:  # a 64-bit length follows the type
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:  # the last box reaches to the end of the file
            length = size - position
        if length < 8:
            # Bytes after the last box are common (camera padding); before the index they are damage.
            return None if b"moov" in seen else "the index (moov) is missing"
        if seen >= {b"moov", b"mdat"} and kind not in MP4_LATER_BOXES:
            return None  # notes of the maker, not a box
        if cut := _missing(position + length, size):
            return cut if kind != b"moov" else f"the index (moov) is cut: {cut}"
        seen.add(kind)
        position += length
    return None if b"moov" in seen else "the index (moov) is missing"


def _vint(file: BinaryIO) -> int | None:
    """An EBML length; None when it is the reserved value "unknown", or the file ends inside it."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    rest = file.read(width - 1)
    value = int.from_bytes(first + rest, "big") & ((1 << 7 * width) - 1)
    return None if len(rest) < width - 1 or value == (1 << 7 * width) - 1 else value


def _cut_in_matroska(file: BinaryIO, size: int) -> str | None:
    file.seek(len(EBML_MAGIC))
    header = _vint(file)
    if header is None:
        return "the header is cut"
    file.seek(header, 1)
    if file.read(4) != MATROSKA_SEGMENT:
        return "the body (Segment) is missing"
    length = _vint(file)
    return None if length is None else _missing(file.tell() + length, size)
