"""``hardpose cancel``, ``delete`` and ``forget``: what ends a job, and what removes one, or a video."""

import getpass
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from api.guard import guarded, read_settings
from api.options import Home, JobId, Json
from api.printable import counted, printable
from broker.errors import NotFound, SettingsError
from broker.work_views import Cancelled, Erased
from tasks.runtime import Runtime

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
BEYOND = (
    "Data sets that were written before (OUT/dataset, exports that were downloaded) are out of reach: "
    "write them anew, or remove the video's files there."
)
"""What a removal cannot do, and the user must."""


def register(cli: typer.Typer) -> None:
    """Adds the commands to ``hardpose``."""
    for function in (cancel, delete, forget):
        cli.command()(function)


@guarded
def cancel(job_id: JobId, home: Home = None, as_json: Json = False) -> None:
    """End a job: what is done stays done, the rest is stopped until it is tried again."""
    from tasks.cancelling import cancel_job

    done = cancel_job(_runtime(home), job_id)
    typer.echo(done.model_dump_json() if as_json else _stopped(done, home))


@guarded
def delete(job_id: JobId, yes: Yes = False, home: Home = None, as_json: Json = False) -> None:
    """Remove a job that has ended, with the videos, frames, reviews and exports that no other job has."""
    from tasks.erasing import delete_job

    runtime = _runtime(home)
    _ask(f"Remove the job {job_id} and all that only it has?", yes)
    _print_erased([delete_job(runtime, job_id)], as_json)


@guarded
def forget(
    links: Annotated[list[str], typer.Argument(help="Videos: their ids, or links or files as given.")],
    reason: Annotated[str, typer.Option(help="Kept with the video's id.")] = "",
    allow: Annotated[bool, typer.Option("--allow", help="Let them be taken in again instead.")] = False,
    yes: Yes = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Remove videos and all that was made of them, from every job, and do not take them in again."""
    from tasks.erasing import allow_video, forget_video

    runtime = _runtime(home)
    if allow:
        allowed = [video_id for link in links for video_id in allow_video(runtime, link)]
        typer.echo(json.dumps({"allowed": allowed}) if as_json else f"May be taken in: {', '.join(allowed)}")
        return
    _ask(f"Remove {counted(len(links), 'video')} and all that was made of them, from every job?", yes)
    _print_erased([forget_video(runtime, link, _user(), reason) for link in links], as_json)


def _runtime(home: Path | None) -> Runtime:
    from api.local import attach, has_catalog

    settings = attach(read_settings(home=home))
    if not has_catalog(settings):
        raise NotFound(
            f"There are no jobs in {settings.home.absolute()}.",
            "Name the folder with --home or HARDPOSE_HOME: for `hardpose run --out DIR` it is DIR/state.",
        )
    return Runtime(settings)


def _ask(question: str, yes: bool) -> None:
    """Goes on after a yes.

    Raises:
        SettingsError: nobody is there to be asked.
        typer.Abort: no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError("Nobody is there to be asked.", "Add --yes to remove without a question.")
    typer.confirm(question, abort=True, err=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "command line"


def _stopped(done: Cancelled, home: Path | None) -> str:
    if not done.links:
        return f"{done.job_id}: nothing is open, there is nothing to cancel."
    named = f" --home {shlex.quote(str(home))}" if home else ""
    what = f"{counted(done.links, 'link')} and {counted(done.segments, 'segment')}"
    return (
        f"{done.job_id}: {what} stopped; what is done stays done.\n"
        f"hardpose retry {done.job_id} --reason cancelled{named}   takes them up again"
    )


def _print_erased(found: list[Erased], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"erased": [erased.model_dump(mode="json") for erased in found]}))
        return
    for erased in found:
        typer.echo("\n".join(erased_lines(erased)))
    typer.echo(BEYOND)


def erased_lines(erased: Erased) -> list[str]:
    """What a deletion has removed, for people."""
    counts = (
        counted(erased.videos, "video"),
        counted(erased.segments, "segment"),
        counted(erased.frames, "frame"),
        counted(erased.reviews, "decision"),
        counted(erased.artifacts, "file"),
    )
    lines = [f"Removed: {', '.join(counts)}."]
    if erased.exports:
        lines.append(f"Exports that held some of it are gone: {', '.join(erased.exports)}.")
    if erased.jobs:
        lines.append(f"Jobs: {', '.join(erased.jobs)}.")
    return lines + [f"Kept: {printable(what)}" for what in erased.kept]
