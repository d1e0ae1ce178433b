"""``hardpose status``: jobs, links and their reasons, and the state of downloads."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.device_wait import DeviceWait
from api.downloads import DownloadsState
from api.failures import failures, retry_command
from api.printable import counted, printable, span
from api.summary import summary_json, summary_lines
from api.unfit_workers import unfit_json, unfit_line
from api.waiting import Parked
from broker.errors import WorkCancelled
from broker.messages import Verdict
from broker.presence import WorkerCard
from broker.views import JobView, LinkView, State

NONE_PARKED: Parked = {}
MOST_FAILURES = 20
"""More than these are told by reason: the table says already which link failed for which."""
HEADERS = ("#", "link", "state", "segments", "examined", "kept", "hard")
LINK = 1
"""The column that gives way where a terminal is narrow."""
LEAST_LINK = 24
GAP = 2
PLAIN: dict[str, Any] = {"box": None, "padding": (0, GAP, 0, 0), "pad_edge": False, "header_style": "bold"}


def _counts(job: JobView) -> str:
    states = [_word(link) for link in job.videos]
    return ", ".join(f"{states.count(s)} {s}" for s in (*State, WorkCancelled.code) if s in states)


def _word(link: LinkView) -> str:
    stopped = link.failure is not None and link.failure.code == WorkCancelled.code
    return WorkCancelled.code if stopped and link.state == State.FAILED else link.state.value


def print_jobs(
    jobs: Sequence[JobView],
    downloads: DownloadsState,
    as_json: bool,
    devices: Sequence[DeviceWait] = (),
    unfit: Sequence[WorkerCard] = (),
) -> None:
    """All jobs, a line each, and what is known of downloads, devices that are waited for, and workers that
    are unfit for work.
    """
    if as_json:
        waits = [asdict(each) for each in devices]
        answer = {
            "jobs": [summary_json(job) for job in jobs],
            "downloads": downloads.json(),
            "devices": waits,
            "unfit_workers": [unfit_json(card) for card in unfit],
        }
        typer.echo(json.dumps(answer))
        return
    if not jobs:
        typer.echo("No jobs yet: `hardpose run VIDEO...` or `hardpose enqueue LINK...` makes one.")
        _print_unfit(unfit)
        return
    table = Table("job", "created (UTC)", "videos", "examined", "hard", **PLAIN)
    for job in jobs:
        funnel = job.funnel()
        table.add_row(
            job.id,
            job.created_at[:16].replace("T", " "),
            _counts(job),
            str(funnel.examined),
            str(funnel.of(Verdict.HARD)),
        )
    Console().print(table)
    for line in (*downloads.lines(), *(f"{wait}." for wait in devices)):
        typer.echo(line)
    _print_unfit(unfit)


def _print_unfit(cards: Sequence[WorkerCard]) -> None:
    for card in cards:
        typer.echo(unfit_line(card))


def print_job(
    job: JobView,
    as_json: bool,
    parked: Parked = NONE_PARKED,
    away: str = "",
    home: Path | None = None,
    device: DeviceWait | None = None,
    unfit: Sequence[WorkerCard] = (),
) -> None:
    """One job: every link with its state, then the summary with reasons and remedies.

    Args:
        job: the job.
        as_json: for programs.
        parked: its links that wait outside the queue.
        away: why it is not known what waits.
        home: the folder, if it was named, that the commands which are proposed need too.
        device: what of it waits for its device.
        unfit: workers of the system.
    """
    if as_json:
        waiting = [{"position": at, "reason": why, "seconds": left} for at, (why, left) in parked.items()]
        more = {"waiting": waiting, "device": asdict(device) if device else None, "broker": away or "answers"}
        more["unfit_workers"] = [unfit_json(card) for card in unfit]
        typer.echo(json.dumps({**summary_json(job), **more}))
        return
    _print_links(job.links, parked)
    if away and not job.final:
        typer.echo(f"What waits is not known. {printable(away)}")
    if device is not None and not job.final:
        typer.echo(f"{device}.")
    if not job.final:
        _print_unfit(unfit)
    few = len(failures(job)) <= MOST_FAILURES
    typer.echo("\n".join(summary_lines(job, all_failures=few, retry=retry_command(job.id, home))))
    if not few:
        typer.echo(f"Each failure with its cause: hardpose status {job.id} --json, or the report.")


def _print_links(links: Sequence[LinkView], parked: Parked) -> None:
    """A row for each link. In a terminal long links lose their middle; the end is what tells them apart."""
    console = Console()
    rows = [_row(link, parked) for link in links]
    columns = list(zip(HEADERS, *rows, strict=True))
    others = sum(max(map(cell_len, column)) + GAP for at, column in enumerate(columns) if at != LINK)
    room = max(map(cell_len, columns[LINK]))
    if console.is_terminal:
        room = min(room, max(console.width - others - GAP, LEAST_LINK))
    table = Table(*HEADERS, **PLAIN)
    for row in rows:
        cells = (shortened(cell, room) if at == LINK else cell for at, cell in enumerate(row))
        table.add_row(*map(Text, cells))
    # A pipe has no width: what reads it wants whole links and one line for each.
    Console(width=max(console.width, others + room + GAP)).print(table)


def shortened(text: str, most: int) -> str:
    """``text`` in at most ``most`` characters, without the scheme and the middle if it must be."""
    short = text if len(text) <= most else re.sub(r"^https?://(www\.)?", "", text)
    if len(short) <= most:
        return short
    tail = (most - 1) * 2 // 3
    return f"{short[: most - 1 - tail]}\N{HORIZONTAL ELLIPSIS}{short[len(short) - tail :]}"


def _row(link: LinkView, parked: Parked) -> tuple[str, ...]:
    number = str(link.position + 1)
    if link.listed is not None:
        return (number, printable(link.link), _list(link), "", "", "", "")
    if not link.segments:
        return (number, printable(link.link), _state(link, parked), "", "", "", "")
    funnel = link.funnel()
    done = sum(segment.state.final for segment in link.segments)
    kept = funnel.of(Verdict.EASY, Verdict.HARD)
    numbers = (f"{done}/{len(link.segments)}", str(funnel.examined), str(kept), str(funnel.of(Verdict.HARD)))
    return (number, printable(link.link), _state(link, parked), *numbers)


def _state(link: LinkView, parked: Mapping[int, tuple[str, float]]) -> str:
    if _word(link) == WorkCancelled.code:
        return WorkCancelled.code
    if link.state == State.FAILED and link.failure is not None:
        return f"{link.state}: {link.failure.code}"
    if link.state.final or link.position not in parked:
        return str(link.state)
    reason, seconds = parked[link.position]
    return f"{link.state}: {reason}, {span(seconds)}"


def _list(link: LinkView) -> str:
    """A playlist or a channel: what it holds is in rows of its own."""
    title = f" ({printable(link.list_title)})" if link.list_title else ""
    held = counted(link.listed or 0, "video")
    return f"list of {held}{title}" if link.list_complete else f"first {held} of a list{title}"
