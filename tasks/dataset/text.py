"""Text from users and web sites, made fit for files that other people open."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import SplitResult, unquote, unquote_plus, urlsplit, urlunsplit

from workers.downloads.sites import is_youtube

Cell = str | int | float | None

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet runs a cell that starts so (OWASP, "CSV Injection")."""

SECRET_PREFIXES = ("x-amz-", "x-goog-")
"""Parameters of presigned links (AWS Signature Version 4; Google Cloud Storage V4 signed URLs)."""
SECRET_NAMES = frozenset(
    {"sig", "signature", "lsig", "policy", "key-pair-id", "awsaccesskeyid", "googleaccessid"}
    | {"token", "access_token", "auth_token", "id_token", "refresh_token", "jwt"}
    | {"key", "api_key", "apikey", "client_secret", "secret", "password"}
)
"""Parameters that let their holder in: signatures (AWS Signature Version 2, CloudFront, Azure shared
access), OAuth 2.0 tokens (RFC 6749, RFC 6750), and API keys."""
SIGNATURES = frozenset({"sig", "signature"})
"""Beside one of these ``expires`` is a part of the signature; alone it may be anything."""

_HTTP_LINK = re.compile(r"https?://[^\s'\"<>]+", re.IGNORECASE)


def public_source(source: str) -> str:
    """A link without user name, password and secret parameters, or the bare name of a file.

    The folders of a local path say more about the machine of whoever made the data set than about the
    data set. A link that cannot be parsed loses everything after its path. Of YouTube's links only what
    names the video, or else the playlist, is kept.
    """
    if "://" not in source:
        return PureWindowsPath(PurePosixPath(source).name).name or source
    try:
        parts = urlsplit(source)
    except ValueError:
        scheme, _, rest = re.split(r"[?#]", source, maxsplit=1)[0].partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"
    if parts.scheme == "file":
        return PurePosixPath(unquote(parts.path)).name or source
    if is_youtube(source):
        parts = parts._replace(query=_of_youtube(parts), fragment="")
    return urlunsplit(
        parts._replace(
            netloc=parts.netloc.rpartition("@")[2],
            query=_without_secrets(parts.query),
            fragment=_without_secrets(parts.fragment),
        )
    )


def _of_youtube(parts: SplitResult) -> str:
    """``v=`` of the query, or ``list=`` where no video is named; the rest says who shared it."""
    pairs = {pair.partition("=")[0]: pair for pair in reversed(parts.query.split("&"))}
    return next((pairs[name] for name in ("v", "list") if name in pairs), "")


def public_text(text: str, *sources: str) -> str:
    """``text`` with every form of ``sources``, and every other http(s) link, as ``public_source`` shows it.

    Args:
        text: the cause or the remedy of a failure.
        sources: the links that it is about; a local one is also found as its absolute path and as a
            ``file:`` URL.
    """
    shown = {form: public_source(source) for source in sources for form in _forms(source)}
    if shown:
        longest_first = sorted(shown, key=lambda form: (-len(form), form))
        text = re.sub("|".join(map(re.escape, longest_first)), lambda found: shown[found[0]], text)
    return _HTTP_LINK.sub(lambda found: public_source(found[0]), text)


def _forms(source: str) -> set[str]:
    """The ways in which a message may write ``source``."""
    if "://" in source and not source.lower().startswith("file:"):
        return {source}
    path = source
    if source.lower().startswith("file:"):
        path = unquote(re.sub(r"^file:(//[^/]*)?", "", source, flags=re.IGNORECASE))
    if not path:
        return {source}
    absolute = Path(path).absolute()
    forms = {source, path, str(absolute), absolute.as_uri()}
    return forms | {f"file:{absolute}", f"file://{absolute}", "file:" + absolute.as_uri()[len("file://") :]}


def _without_secrets(query: str) -> str:
    """``query`` without its secret parameters; the others stay as they are, byte for byte."""
    pairs = query.split("&")
    names = [unquote_plus(pair.partition("=")[0]).lower() for pair in pairs]
    signed = not SIGNATURES.isdisjoint(names)
    return "&".join(
        pair
        for pair, name in zip(pairs, names, strict=True)
        if name not in SECRET_NAMES
        and not name.startswith(SECRET_PREFIXES)
        and not (signed and name == "expires")
    )


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
