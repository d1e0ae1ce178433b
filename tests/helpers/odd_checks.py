"""Checks of a weights file that end as a library does on a damaged one; for a process of their own."""

import os
import signal
import sys
import time
from pathlib import Path

from workers.errors import ModelMismatch, WeightsDamaged


def crash(path: Path) -> str:
    os.kill(os.getpid(), getattr(signal, path.read_text()))
    return "unreachable"


def hang(path: Path) -> str:
    time.sleep(60)
    return "too late"


def defect(path: Path) -> str:
    raise ZeroDivisionError("a number in it is 0")


def noisy(path: Path) -> str:
    sys.stdout.write("a library's banner\n")
    sys.stderr.write("a warning\n")
    return f"in {os.getpid()}: {path.read_text()}"


def mismatch(path: Path) -> str:
    raise ModelMismatch(f"{path.name} is another network.", "Give the right one, für alle Fälle.")


def damaged(path: Path) -> str:
    raise WeightsDamaged(f"{path.name} is cut off.", "Again.")
