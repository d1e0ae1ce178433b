"""Writes a device's description in many spellings of one meaning."""

import json
import random
from collections.abc import Mapping
from typing import Any


class Raw(str):
    """A value that is written as it is."""


def page(values: Mapping[str, Any]) -> str:
    """``values``, tables last, in the plain spelling."""
    tops = [f"{key} = {value(v)}" for key, v in values.items() if not isinstance(v, Mapping)]
    for key, table in values.items():
        if isinstance(table, Mapping):
            tops += [f"[{key}]", *(f"{name} = {value(v)}" for name, v in table.items())]
    return "\n".join(tops) + "\n"


def otherwise(values: Mapping[str, Any], seed: int) -> str:
    """The same in another order, with comments, other quotes and numbers, dotted keys or inline tables."""
    dice = random.Random(seed)
    tables = {key: v for key, v in values.items() if isinstance(v, Mapping)}
    rows = [f"{key} = {_value(v, dice)}" for key, v in values.items() if key not in tables]
    after = []
    for key, table in tables.items():
        entries = [(name, _value(v, dice)) for name, v in table.items()]
        dice.shuffle(entries)
        way = dice.randrange(3)
        if way == 0:
            rows += [f"{key} . {name} = {v}" for name, v in entries]
        elif way == 1:
            rows.append(f"{key} = {{ {', '.join(f'{name} = {v}' for name, v in entries)} }}")
        else:
            after += [f"[ {key} ]  # its table", *(f"  {name}={v}" for name, v in entries)]
    dice.shuffle(rows)
    lines = []
    for row in [*rows, *after]:
        lines += [*dice.choice([[], [""], ["# of the device"]]), row + dice.choice(["", "  # so it is"])]
    return dice.choice(["\n", "\r\n"]).join([*lines, ""])


def value(given: Any) -> str:
    """As TOML; JSON's texts, numbers, truth values and lists are TOML's as well."""
    if isinstance(given, Raw):
        return str(given)
    if isinstance(given, Mapping):
        return f"{{ {', '.join(f'{name} = {value(v)}' for name, v in given.items())} }}"
    return json.dumps(given)


def _value(given: Any, dice: random.Random) -> str:
    if isinstance(given, str) and "'" not in given:
        return dice.choice([value(given), f"'{given}'", f"'''{given}'''", f'"""\n{given}"""'])
    if isinstance(given, list):
        gap = dice.choice([" ", "\n    ", " # one\n "])
        return f"[{gap}" + f",{gap}".join(_value(each, dice) for each in given) + f",{gap.rstrip(' ')}\n]"
    if isinstance(given, float) and given.is_integer():
        return dice.choice([str(int(given)), f"{given:.3f}", f"{given:e}"])
    return value(given)
