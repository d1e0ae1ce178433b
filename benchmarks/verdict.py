"""What every benchmark does with its numbers: writes them, shows them, and says which bound they miss."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def close(
    numbers: dict[str, Any],
    out: Path | None,
    table: Callable[[dict[str, Any]], str],
    faults: Callable[[dict[str, Any]], list[str]],
) -> int:
    """The exit status: 1 when a bound is missed."""
    if out is not None:
        out.write_text(json.dumps(numbers, indent=2) + "\n")
    print(table(numbers))
    return say(faults(numbers))


def say(missed: list[str]) -> int:
    """Prints the bounds that are missed; the exit status."""
    print("\n".join(missed) or "every bound holds")
    return 1 if missed else 0
