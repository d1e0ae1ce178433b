"""What pydantic finds wrong with a ``me.toml``, in words: the line, what stands there, what may."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from workers.devices.errors import DeviceMisdescribed
from workers.devices.page import Page

_QUOTED = 80
"""Most characters of a value that an error repeats."""


def place(path: Path, lines: Mapping[str, int], key: str) -> str:
    """Where ``key`` stands: ``me.toml, line 7 (network.colours)``, or that it is not given."""
    line = lines.get(key)
    return f"{path}, line {line} ({key})" if line else f"{path} ({key} is not given)"


def misdescribed(path: Path, lines: Mapping[str, int], error: ValidationError) -> DeviceMisdescribed:
    """The first fault that ``error`` lists, in words."""
    found = min(error.errors(include_url=False), key=lambda each: lines.get(_key(each), 0))
    key, keys = _key(found), [str(part) for part in found["loc"] if isinstance(part, str)]
    if found["type"] == "missing":
        table = f"[{'.'.join(keys[:-1])}]" if keys[1:] else "the top of the file"
        return DeviceMisdescribed(
            f"{path} does not say {key}.", f"Write {keys[-1]} in {table}: {_may(keys)}."
        )
    if found["type"] == "extra_forbidden":
        return _unknown(place(path, lines, key), keys)
    return DeviceMisdescribed(
        f"{place(path, lines, key)}: {_stands(keys, found['input'])}.", f"Give {_may(keys)}."
    )


def no_toml(path: Path, error: ValueError, rows: int) -> DeviceMisdescribed:
    """A file of ``rows`` lines that does not parse; the parser's own words name the line."""
    words = str(error).replace("at end of document", f"at line {rows}, column 1")
    at = re.search(r" \(at (line \d+), column \d+\)$", words)
    where = f"{path}, {at[1]}" if at else str(path)
    why = words[: at.start()] if at else words
    return DeviceMisdescribed(
        f"{where}: this is not TOML ({why}).", 'Write for example threshold = 0.5 or name = "me-2".'
    )


def _unknown(where: str, keys: list[str]) -> DeviceMisdescribed:
    above = _model(keys[:-1])
    known = sorted(above.model_fields) if above else []
    near = difflib.get_close_matches(keys[-1], known, n=1, cutoff=0.5)
    other = [
        f"{section}.{keys[-1]}" for section in ("network", "http", "command")
        if (model := _model([section])) and keys[-1] in model.model_fields and keys[:-1] != [section]
    ]  # fmt: skip
    hint = f"Did you mean {near[0]}? " if near else f"Did you mean {other[0]}? " if other else ""
    table = f"[{'.'.join(keys[:-1])}]" if keys[1:] else "the top of the file"
    return DeviceMisdescribed(f"{where}: no such key.", f"{hint}Known in {table}: {', '.join(known)}.")


def _key(error: ErrorDetails) -> str:
    """``("network", "mean", 1)`` as ``network.mean``."""
    return ".".join(str(part) for part in error["loc"] if isinstance(part, str))


def _stands(keys: list[str], value: Any) -> str:
    # An address or a command line may hold what must not reach a log.
    if keys[0] in ("http", "command") and isinstance(value, str):
        return f"a text of {len(value)} characters, which cannot be used, stands there"
    text = repr(value)
    return f"{text if len(text) <= _QUOTED else text[:_QUOTED] + '...'} stands there"


def _may(keys: list[str]) -> str:
    above, field = _model(keys[:-1]), None
    if above is not None:
        field = above.model_fields.get(keys[-1])
    if field is None and keys[1:]:  # a value within a table of free keys
        return _may(keys[:-1])
    return field.title if field is not None and field.title else "another value"


def _model(keys: list[str]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = Page
    for key in keys:
        model = _section(model.model_fields[key]) if model and key in model.model_fields else None
    return model


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
