"""Where yt-dlp puts a file, and what a part is a part of. No import of yt-dlp: this is about its files."""

import hashlib
from pathlib import Path


def stem_of(folder: Path, format_id: str) -> Path:
    """The file's path without its suffix: the same for the same format, so that a part can be continued."""
    return folder / "media" / hashlib.sha256(format_id.encode("utf-8", "replace")).hexdigest()[:16]


def template_of(stem: Path) -> str:
    """yt-dlp's template of the file's path. No word of a page becomes part of it but the suffix, and yt-dlp
    knows which suffixes are safe.
    """
    return str(stem).replace("%", "%%") + ".%(ext)s"


class Changed(Exception):
    """The file at the site is another one than that of which a part is here."""


class Part:
    """The part of a file, and the size of its whole, which lies beside it in ``<stem>.total``.

    yt-dlp continues a part without asking whether the file is still the same (HTTP's If-Range). The whole's
    size, which each answer states, tells; that a file is replaced by one of the very same size is not seen.

    Args:
        stem: path of the file without its suffix.
    """

    def __init__(self, stem: Path) -> None:
        self._stem = stem
        self._note = stem.with_name(f"{stem.name}.total")

    def drop_unknown(self) -> None:
        """Removes a part of which nobody knows what it was of."""
        if not self._note.exists():
            self.drop()

    def of(self, total: int) -> None:
        """An answer has said what the size of the whole is.

        Raises:
            Changed: an earlier one has said something else.
        """
        if not self._note.exists():
            self._note.write_text(str(total))
        elif self._note.read_text() != str(total):
            raise Changed

    def drop(self) -> None:
        """Removes the part: the transfer starts over."""
        for path in (*self._stem.parent.glob(f"{self._stem.name}.*.part"), self._note):
            path.unlink(missing_ok=True)
