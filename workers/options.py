"""Options of a model: from the plain values of a ModelSpec to a frozen dataclass, checked."""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from broker.errors import SettingsError
from broker.recipe import ModelSpec

Options = TypeVar("Options")

IN_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def read_options(kind: type[Options], spec: ModelSpec) -> Options:
    """An instance of the dataclass ``kind`` from ``spec.options``; what is not given keeps its default.

    Raises:
        SettingsError: an option is unknown or of the wrong type; names it and lists the known ones.
    """
    known = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    for name, value in spec.options.items():
        if name not in known:
            raise SettingsError(
                f"The model {spec.name} has no option {name!r} (value {value!r}).",
                f"Known options: {', '.join(sorted(known))}.",
            )
        _check_type(spec.name, name, value, known[name])
    return kind(**spec.options)


def _check_type(model: str, name: str, value: object, default: object) -> None:
    wanted = type(default)
    # JSON writes 1.0 as 1, so a whole number is a float; a truth value is not a number.
    fits = type(value) is wanted or (wanted is float and type(value) is int)
    if not fits:
        raise SettingsError(
            f"The option {name} of the model {model} is {value!r}, a {type(value).__name__}.",
            f"Give {IN_WORDS[wanted]}; the default is {default!r}.",
        )


def option_values(
    options: Any, changes: Mapping[str, str | int | float | bool] | None = None
) -> dict[str, Any]:
    """The options dataclass as the plain values of a ModelSpec, with ``changes`` on top."""
    return {**asdict(options), **(changes or {})}


def with_options(spec: ModelSpec, changes: Mapping[str, str | int | float | bool]) -> ModelSpec:
    """``spec`` with other options. A text is read as the default's type, as the environment has only texts.

    Raises:
        SettingsError: the model has no such option, or the text is no value of its type.
    """
    if not changes:
        return spec
    for name in changes:
        if name not in spec.options:
            known = ", ".join(sorted(spec.options)) or "none"
            raise SettingsError(f"The model {spec.name} has no option {name!r}.", f"Known options: {known}.")
    read = {name: _from_text(spec, name, value) for name, value in changes.items()}
    return spec.model_copy(update={"options": {**spec.options, **read}})


def _from_text(spec: ModelSpec, name: str, value: str | int | float | bool) -> str | int | float | bool:
    default = spec.options[name]
    if not isinstance(value, str) or isinstance(default, str):
        return value
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        return type(default)(value)
    except (KeyError, ValueError) as error:
        raise SettingsError(
            f"The option {name} of the model {spec.name} is {value!r}.",
            f"Give {IN_WORDS[type(default)]}; the default is {default!r}.",
        ) from error


def require_range(options: object, least: float, most: float, *names: str) -> None:
    """Refuses numbers outside ``least`` to ``most``, and those that are none.

    Raises:
        SettingsError: names the option.
    """
    for name in names:
        value = getattr(options, name)
        words = f"{least:g} to {most:g}" if math.isfinite(most) else f"a number from {least:g} on"
        require(math.isfinite(value) and least <= value <= most, name, value, words)


def require(holds: bool, name: str, value: object, wanted: str) -> None:
    """Refuses the option ``name``.

    Raises:
        SettingsError: it does not hold.
    """
    if not holds:
        raise SettingsError(f"The option {name} is {value!r}.", f"Give {wanted}.")
