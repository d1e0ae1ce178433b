"""Checks of files from anywhere in a process of their own: a damaged one can crash the library that reads it.

Run as ``python -m workers.apart MODULE FUNCTION FILE`` it prints what the function says of the file, as JSON.
"""

import importlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from broker.errors import MissingDependency
from workers.errors import ModelMismatch, WeightsDamaged

MOST_SECONDS = 600.0
"""For one file; reading 257 MB takes two."""
ERRORS = {kind.code: kind for kind in (WeightsDamaged, ModelMismatch, MissingDependency)}
"""What a check may raise."""
REMEDY = "Download it again and compare its size and, if there is one, its checksum: it is probably damaged."


def checked_apart(check: Callable[[Path], str], path: Path, most_seconds: float = MOST_SECONDS) -> str:
    """What ``check`` says of the file, asked in a process of its own.

    Args:
        check: a function of a module (no lambda, no method); raises one of ``ERRORS``.
        path: of the file.
        most_seconds: for the check.

    Raises:
        WeightsDamaged: the process crashed, or did not end in time; or ``check`` raises it.
        ModelMismatch, MissingDependency: ``check`` raises it.
    """
    line = [sys.executable, "-P", "-m", "workers.apart", check.__module__, check.__qualname__, str(path)]
    try:
        done = subprocess.run(  # noqa: S603 - our own program, a list of arguments, no shell
            line, capture_output=True, text=True, errors="replace", timeout=most_seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsDamaged(
            f"{path.name} could not be read within {most_seconds:.0f} seconds.", REMEDY
        ) from error
    if done.returncode:
        raise WeightsDamaged(f"Reading {path.name} {_ending(done)}.", REMEDY)
    said: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    if "code" in said:
        raise ERRORS[said["code"]](said["cause"], said["remedy"])
    return said["found"]


def _ending(done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode > 0:
        words = " ".join(done.stderr.split())
        return f"ended with the status {done.returncode}: {words[-200:]}"
    number = -done.returncode
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return f"crashed the process that read it ({name})"


def main() -> None:
    """Does one check, in the child."""
    module, function, file = sys.argv[1:]
    try:
        said = {"found": getattr(importlib.import_module(module), function)(Path(file))}
    except tuple(ERRORS.values()) as error:
        said = {"code": error.code, "cause": error.cause, "remedy": error.remedy}
    sys.stdout.write(f"\n{json.dumps(said)}\n")


if __name__ == "__main__":
    main()
