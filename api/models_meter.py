"""How many bytes of a file are here: a bar in a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from workers.downloads.fetch import Moved

EVERY_SECONDS = 5.0
"""Between two lines of a log."""


@contextmanager
def meter(what: str) -> Iterator[Moved]:
    """A function to be told how many bytes are here, and how many there will be if that is known."""
    if not sys.stderr.isatty():
        yield _lines(what)
        return
    columns = (TextColumn("{task.description}"), BarColumn(20), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda received, total: progress.update(task, completed=received, total=total)


def _lines(what: str) -> Moved:
    told = time.monotonic()

    def moved(received: int, total: int | None) -> None:
        nonlocal told
        if time.monotonic() - told >= EVERY_SECONDS:
            told = time.monotonic()
            typer.echo(f"{what}: {received:,} of {f'{total:,}' if total else '?'} bytes", err=True)

    return moved
