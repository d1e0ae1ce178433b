"""``hardpose status``: jobs, links and their reasons."""

import json
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.table import Table

from api.summary import summary_json, summary_lines
from broker.messages import Verdict
from broker.views import JobView, LinkView, State


def _counts(job: JobView) -> str:
    states = [link.state for link in job.links]
    return ", ".join(f"{states.count(s)} {s}" for s in State if s in states)


def print_jobs(jobs: Sequence[JobView], as_json: bool) -> None:
    """All jobs, a line each."""
    if as_json:
        typer.echo(json.dumps([summary_json(job) for job in jobs]))
        return
    if not jobs:
        typer.echo("No jobs yet: `hardpose run VIDEO...` or `hardpose enqueue LINK...` makes one.")
        return
    table = Table("job", "created (UTC)", "links", "examined", "hard")
    for job in jobs:
        funnel = job.funnel()
        table.add_row(
            job.id, job.created_at[:19], _counts(job), str(funnel.examined), str(funnel.of(Verdict.HARD))
        )
    Console().print(table)


def print_job(job: JobView, as_json: bool) -> None:
    """One job: every link with its state, then the summary with reasons and remedies."""
    if as_json:
        typer.echo(json.dumps(summary_json(job)))
        return
    table = Table("link", "state", "segments", "examined", "kept", "hard")
    for link in job.links:
        table.add_row(*_row(link))
    Console().print(table)
    typer.echo("\n".join(summary_lines(job)))


def _row(link: LinkView) -> tuple[str, ...]:
    funnel = link.funnel()
    done = sum(segment.state.final for segment in link.segments)
    kept = funnel.of(Verdict.EASY, Verdict.HARD)
    segments = f"{done}/{len(link.segments)}"
    return (link.link, link.state, segments, str(funnel.examined), str(kept), str(funnel.of(Verdict.HARD)))
