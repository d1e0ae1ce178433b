"""Writes ``constraints-extra.txt``: the versions that pip chose for what ``constraints.txt`` does not name.

``make lock`` asks pip, which installs nothing, and runs this on its report. A line that is there stays as it
is; to let a version rise, delete its line and run ``make lock`` again. Python is 3.11, as in images.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def plain(name: str) -> str:
    """A package's name in the one spelling for comparing, by PyPA's "Names and normalization"."""
    return name.lower().replace("_", "-").replace(".", "-")


def extra_pins(report: Path, constraints: str) -> list[str]:
    """Lines ``name==version``, sorted.

    Args:
        report: that ``pip install --report`` has written.
        constraints: the lines of ``constraints.txt``.
    """
    known = {plain(line.partition("==")[0]) for line in constraints.split()} | {"hardpose"}
    chosen = [each["metadata"] for each in json.loads(report.read_text())["install"]]
    return sorted(f"{plain(m['name'])}=={m['version']}" for m in chosen if plain(m["name"]) not in known)


if __name__ == "__main__":
    pins = extra_pins(Path(sys.argv[1]), (ROOT / "constraints.txt").read_text())
    (ROOT / "constraints-extra.txt").write_text("".join(f"{pin}\n" for pin in pins))
