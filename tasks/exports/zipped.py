"""A folder as a zip file, the same bytes for the same folder."""

import zipfile
from pathlib import Path

PACKED = frozenset({".json", ".csv", ".md", ".txt", ".yaml", ".html", ".css", ""})
"""Suffixes of texts, which shrink; pictures, shards and Parquet do not, and are stored as they are."""
FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can state."""


def zip_folder(folder: Path, target: Path) -> None:
    """Writes all files of ``folder`` into ``target``, by name, and removes each one that is in.

    Large exports so need the room of one copy, not two.

    Args:
        folder: its content becomes the content of the zip file.
        target: outside ``folder``.
    """
    with zipfile.ZipFile(target, "w", allowZip64=True) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), FIRST_DAY)
            entry.compress_type = zipfile.ZIP_DEFLATED if path.suffix in PACKED else zipfile.ZIP_STORED
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, whatever writes it
            size = path.stat().st_size
            entry.file_size = size
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=size > 2**31) as into:
                while block := source.read(1024 * 1024):
                    into.write(block)
            path.unlink()
