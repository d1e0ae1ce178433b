"""Bringing one weights file to this machine: copied or fetched, checked strictly, taken into the store."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from broker.errors import HardposeError, NotFound, WeightsError
from broker.recipe import WeightsRef
from workers.cards import ModelCard, OfficialFile
from workers.downloads.errors import DownloadError, encodable
from workers.downloads.fetch import Moved
from workers.downloads.files import file_sha256, locked, room_needed
from workers.downloads.links import file_url_path, has_scheme, is_remote, refuse_password
from workers.weights import WeightsStore
from workers.weights_link import MAX_BYTES, WeightsLinks, file_md5, published_at

FOLDER = "incoming"
"""Below the weights folder: what is being brought, a folder for each link or path."""
CHUNK = 1 << 20
Check = Callable[[Path], str]
"""A model's ``check_weights``."""


@dataclass(frozen=True)
class Brought:
    """A weights file that was accepted and is in the store.

    Attributes:
        ref: the file.
        version: the official file's stem, or ``custom-`` and eight digits of the hash.
        official: whether it is one that the authors publish: by its MD5, or by their https address.
        given_from: the file's name, or the link without its query.
        found: the model's own words for what is in it.
        fresh: its bytes were not in the store before.
    """

    ref: WeightsRef
    version: str
    official: bool
    given_from: str
    found: str
    fresh: bool


def bring(
    store: WeightsStore, model: str, card: ModelCard, given: str, check: Check, links: WeightsLinks
) -> Brought:
    """Brings ``given`` (a path or a link) into ``store`` as weights of ``model``.

    Nothing stays of a file that is refused. What a broken transfer has left is used by the next try.

    Raises:
        NotFound: there is no such file, or it is a folder.
        DownloadError: the server does not give it; BadLink if there is a password in the link.
        WeightsError: it is too large, a page, or not the file that the authors publish at that address.
        WeightsDamaged, ModelMismatch: what ``check`` found.
        DiskFull: no room for it.
    """
    refuse_password(given)
    folder = (
        store.folder / FOLDER / hashlib.sha256(f"{model} {given}".encode(errors="replace")).hexdigest()[:16]
    )
    with room_needed(store.folder), locked(folder.with_suffix(".lock")):
        folder.mkdir(exist_ok=True)
        part = folder / _file_name(given, card)
        with _nothing_kept(part):
            if is_remote(given):
                links.fetch(part, given, card)
            else:
                _copy(_local(given), part, links.moved)
            found = _checked(check, part, given)
            brought = _describe(part, model, card, given, found, store)
            store.keep(part, brought.ref)
        folder.rmdir()
    return brought


def _local(given: str) -> Path:
    if has_scheme(given) and not given.lower().startswith("file:"):
        link = re.split("[?#]", given, maxsplit=1)[0]
        raise NotFound(f"{encodable(link)} is neither a path nor an https link.", "Give one of them.")
    path = file_url_path(given) if given.lower().startswith("file:") else Path(given).expanduser()
    name = encodable(str(path))
    if path.is_dir():
        raise NotFound(f"{name} is a folder, not a weights file.", "Give the file itself.")
    if not path.is_file():
        raise NotFound(f"There is no weights file {name}.", "Check the path.")
    if path.stat().st_size > MAX_BYTES:
        raise WeightsError(
            f"{name} has {path.stat().st_size:,} bytes; weights have at most {MAX_BYTES:,}.",
            "Give the right file.",
        )
    return path


def _copy(source: Path, part: Path, moved: Moved) -> None:
    try:
        given = source.open("rb")
    except OSError as error:
        raise NotFound(
            f"{encodable(str(source))} cannot be read: {error.strerror}.",
            "Give this user the right to read it.",
        ) from error
    total = source.stat().st_size
    with given, part.open("wb") as copy:
        while data := given.read(CHUNK):
            copy.write(data)
            moved(copy.tell(), total)


@contextmanager
def _nothing_kept(part: Path) -> Iterator[None]:
    """Clears up after a refusal. Of a transfer that broke stays what the next one can go on from."""
    tag = part.with_name(part.name + ".tag")
    try:
        yield
    except BaseException as error:
        if not (isinstance(error, DownloadError | KeyboardInterrupt) and tag.exists()):
            part.unlink(missing_ok=True)
            tag.unlink(missing_ok=True)
            part.parent.rmdir()
        raise


def _checked(check: Check, part: Path, given: str) -> str:
    """What the model says is in the file; its complaints name the file that was given, not our copy."""
    try:
        return check(part)
    except HardposeError as error:
        # A model may name the file by its path or by its name; ours may end otherwise than the one given.
        name = PurePosixPath(_shown(given)).name or part.name
        cause = error.cause.replace(str(part), name).replace(part.name, name)
        raise type(error)(cause, f"{error.remedy} Nothing was kept of it.".strip()) from error


def _describe(
    part: Path, model: str, card: ModelCard, given: str, found: str, store: WeightsStore
) -> Brought:
    sha256, official = file_sha256(part), _official(part, card, given)
    ref = WeightsRef(
        file=part.name, sha256=sha256, source=f"added:{model}/{part.name}", licence=card.licence,
        size=part.stat().st_size,
    )  # fmt: skip
    version = PurePosixPath(official.file).stem if official else f"custom-{sha256[:8]}"
    fresh = store.cached(ref) is None
    return Brought(ref, version, official is not None, _shown(given), found, fresh)


def _official(part: Path, card: ModelCard, given: str) -> OfficialFile | None:
    """The official file that this is: by its MD5, or, if it has none, because its https address gave it."""
    md5 = file_md5(part)
    by_md5 = next((file for file in card.official if file.md5.lower() == md5), None)
    published = published_at(given, card)
    trusted = published is not None and not published.md5 and given.lower().startswith("https:")
    return by_md5 or (published if trusted else None)


def _file_name(given: str, card: ModelCard) -> str:
    """A plain name with an ending that the model reads; content decides, so a wrong ending is no fault."""
    last = unquote(urlsplit(given).path) if "://" in given else given
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", PurePosixPath(last).name).lstrip("._-")[-100:] or "weights"
    known = name.lower().endswith(tuple(suffix.lower() for suffix in card.suffixes))
    return name if known or not card.suffixes else name + card.suffixes[0]


def _shown(given: str) -> str:
    """Where it came from, as it may be kept and shown: no folders of this machine, no secrets of a link."""
    return re.split("[?#]", given, maxsplit=1)[0] if is_remote(given) else encodable(Path(given).name)
