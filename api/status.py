"""``hardpose status``: jobs, links and their reasons, and the state of downloads."""

import json
from collections.abc import Mapping, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.downloads import DownloadsState
from api.printable import counted, printable, span
from api.summary import summary_json, summary_lines
from api.waiting import Parked
from broker.messages import Verdict
from broker.views import JobView, LinkView, State

NONE_PARKED: Parked = {}


def _counts(job: JobView) -> str:
    states = [link.state for link in job.videos]
    return ", ".join(f"{states.count(s)} {s}" for s in State if s in states)


def print_jobs(jobs: Sequence[JobView], downloads: DownloadsState, as_json: bool) -> None:
    """All jobs, a line each, and what is known of the downloads."""
    if as_json:
        answer = {"jobs": [summary_json(job) for job in jobs], "downloads": downloads.json()}
        typer.echo(json.dumps(answer))
        return
    if not jobs:
        typer.echo("No jobs yet: `hardpose run VIDEO...` or `hardpose enqueue LINK...` makes one.")
        return
    table = Table("job", "created (UTC)", "videos", "examined", "hard")
    for job in jobs:
        funnel = job.funnel()
        table.add_row(
            job.id, job.created_at[:19], _counts(job), str(funnel.examined), str(funnel.of(Verdict.HARD))
        )
    Console().print(table)
    for line in downloads.lines():
        typer.echo(line)


def print_job(job: JobView, as_json: bool, parked: Parked = NONE_PARKED, away: str = "") -> None:
    """One job: every link with its state, then the summary with reasons and remedies.

    Args:
        job: the job.
        as_json: for programs.
        parked: its links that wait outside the queue.
        away: why it is not known what waits.
    """
    if as_json:
        waiting = [{"position": at, "reason": why, "seconds": left} for at, (why, left) in parked.items()]
        typer.echo(json.dumps({**summary_json(job), "waiting": waiting, "broker": away or "answers"}))
        return
    table = Table("link", "state", "segments", "examined", "kept", "hard")
    for link in job.links:
        table.add_row(*map(Text, _row(link, parked)))
    Console().print(table)
    if away and not job.final:
        typer.echo(f"What waits is not known. {printable(away)}")
    typer.echo("\n".join(summary_lines(job, all_failures=True)))


def _row(link: LinkView, parked: Parked) -> tuple[str, ...]:
    if link.listed is not None:
        return (printable(link.link), _list(link), "", "", "", "")
    funnel = link.funnel()
    done = sum(segment.state.final for segment in link.segments)
    kept = funnel.of(Verdict.EASY, Verdict.HARD)
    numbers = (f"{done}/{len(link.segments)}", str(funnel.examined), str(kept), str(funnel.of(Verdict.HARD)))
    return (printable(link.link), _state(link, parked), *numbers)


def _state(link: LinkView, parked: Mapping[int, tuple[str, float]]) -> str:
    if link.state.final or link.position not in parked:
        return str(link.state)
    reason, seconds = parked[link.position]
    return f"{link.state}: {reason}, {span(seconds)}"


def _list(link: LinkView) -> str:
    """A playlist or a channel: what it holds is in rows of its own."""
    title = f" ({printable(link.list_title)})" if link.list_title else ""
    held = counted(link.listed or 0, "video")
    return f"list of {held}{title}" if link.list_complete else f"first {held} of a list{title}"
