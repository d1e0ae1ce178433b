"""A JSON file with long lists that are not held in memory."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self


class JsonLists:
    """Writes ``{"name": value, ..., "list": [...], ...}``, an item a line, the lists in the order of naming.

    Each list grows in a file of its own beside the target, and they are joined at the end.

    Args:
        path: of the file.
        names: of the lists.
    """

    def __init__(self, path: Path, *names: str) -> None:
        self._path = path
        self._parts: dict[str, IO[str]] = {}
        self._counts = dict.fromkeys(names, 0)

    def __enter__(self) -> Self:
        for name in self._counts:
            self._parts[name] = self._part(name).open("w+", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        for name, part in self._parts.items():
            part.close()
            self._part(name).unlink(missing_ok=True)

    def add(self, name: str, item: Mapping[str, Any]) -> None:
        """Appends an item to a list.

        Raises:
            ValueError: it holds NaN or an infinity, which JSON does not know.
        """
        text = json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._parts[name].write((",\n" if self._counts[name] else "\n") + text)
        self._counts[name] += 1

    def finish(self, **values: Any) -> None:
        """Writes the file: first ``values``, then the lists."""
        with self._path.open("w", encoding="utf-8") as file:
            file.write("{")
            for name, value in values.items():
                file.write(f"\n{json.dumps(name)}:{json.dumps(value, ensure_ascii=False, allow_nan=False)},")
            for number, (name, part) in enumerate(self._parts.items()):
                file.write(f"{',' if number else ''}\n{json.dumps(name)}:[")
                part.seek(0)
                shutil.copyfileobj(part, file)
                file.write("]")
            file.write("\n}\n")

    def _part(self, name: str) -> Path:
        return self._path.with_name(f".{self._path.name}.{name}")
