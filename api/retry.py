"""``hardpose retry``: another try for what failed."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import typer

from api.options import UnknownReason
from api.printable import counted
from broker.app import create_app
from broker.errors import BrokerUnavailable
from tasks.pipeline import send_links
from tasks.runtime import Runtime


def retry(runtime: Runtime, job_id: str | None = None, reasons: Sequence[str] = ()) -> dict[str, int]:
    """Queues and sends what failed; returns the number of links by job.

    Args:
        runtime: of this process.
        job_id: only this job; None for all.
        reasons: codes or actions of failures; none stands for any.

    Raises:
        UnknownReason: nothing failed for one of ``reasons``: a slip of the pen must not look like success.
        NotFound: there is no such job.
        BrokerUnavailable: nothing was changed.
    """
    known = runtime.catalog.known_reasons(job_id)
    unknown = [reason for reason in reasons if reason not in known]
    if unknown:
        occurring = ", ".join(f"{name} ({count})" for name, count in known.items())
        raise UnknownReason(
            f"Nothing failed for {', '.join(unknown)}.",
            f"Reasons that occur: {occurring}." if known else "Nothing failed at all.",
        )
    _someone_works(runtime)
    sent: dict[str, int] = {}
    with create_app(runtime.settings) as app:
        for job, positions in runtime.catalog.retry(reasons, job_id).items():
            sent[job] = send_links(app, runtime, job, positions=set(positions))
    return sent


def _someone_works(runtime: Runtime) -> None:
    try:
        runtime.ask_broker()
    except BrokerUnavailable as error:
        also = "A job of `hardpose run` is tried again by the same `hardpose run` command, without `retry`."
        raise BrokerUnavailable(error.cause, f"{error.remedy} {also}") from error


def print_sent(sent: dict[str, int], as_json: bool, home: Path | None = None) -> None:
    """How many links of each job are tried again; ``home`` if it was named: to watch them needs it too."""
    if as_json:
        typer.echo(json.dumps({"sent": sent}))
        return
    if not sent:
        typer.echo("Nothing failed: there is nothing to try again.")
    named = f" --home {shlex.quote(str(home))}" if home else ""
    for job_id, count in sent.items():
        tried = f"{counted(count, 'link')} {'is' if count == 1 else 'are'} tried again"
        typer.echo(f"{job_id}: {tried}; `hardpose watch {job_id}{named}` follows")
