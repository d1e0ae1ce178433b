"""The command line. Every command is thin: the work is in the modules beside this one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from api import serve_cli
from api.devices_cli import devices_cli
from api.ending_commands import register as register_ending
from api.exit_codes import ExitCode, exit_code
from api.export_command import register as register_export
from api.flower import register as register_flower
from api.guard import guarded, read_settings
from api.models_cli import models_cli
from api.options import (
    Asked,
    Device,
    Home,
    JobId,
    Json,
    Masks,
    MaybeJobId,
    Out,
    Placement,
    Pose,
    Reasons,
    Threshold,
    Urgency,
    takes_links,
)
from api.report_command import register as register_report
from api.review_command import register as register_review
from api.stopping import end_well_on_sigterm
from broker.errors import SettingsError
from broker.intake import Intake
from broker.priority import Priority
from broker.recipe import canonical_hash
from broker.settings import Settings

if TYPE_CHECKING:
    from broker.catalog import Catalog

cli = typer.Typer(
    name="hardpose",
    help="Finds the frames on which an on-device person segmentation fails, with a teacher's masks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
cli.add_typer(models_cli, name="models")
cli.add_typer(devices_cli, name="devices")

_ANY = Intake()
OWN_NAMESPACE = "run-"
"""How the namespace of a run begins that shares a broker, but not a catalog, with others."""

P = ParamSpec("P")
R = TypeVar("R")


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Registers a command whose typed errors become exit statuses."""
    return cli.command()(guarded(function))


def _catalog_of(settings: Settings) -> "Catalog":
    """The catalog, if there is one: looking must not make one in whatever folder this is.

    Raises:
        NotFound: when the home folder has none.
    """
    from api.local import require_catalog
    from tasks.runtime import Runtime

    require_catalog(settings)
    return Runtime(settings).catalog


def _recipe_overrides(
    threshold: float | None, pose: str | None, masks: str | None, device: str | None
) -> dict[str, Any]:
    comparison = None if threshold is None else {"iou_threshold": threshold}
    return {"comparison": comparison, "pose_model": pose, "mask_model": masks, "device_model": device}


@command
@takes_links
def run(
    asked: Asked,
    out: Out = Path("hardpose-out"),
    threshold: Threshold = None,
    pose: Pose = None,
    masks: Masks = None,
    device: Device = None,
    placement: Placement = None,
    priority: Urgency = None,
    no_workers: Annotated[
        bool, typer.Option("--no-workers", help="Use the workers of the given broker only.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a job from links to data set on this machine; the same command again resumes it."""
    settings = _settings_for_run(
        out, placement=placement, **_recipe_overrides(threshold, pose, masks, device)
    )
    if no_workers and (settings.broker_url is None or settings.namespace.startswith(OWN_NAMESPACE)):
        raise SettingsError(
            "--no-workers leaves the work to workers elsewhere, and none can be reached.",
            "Set HARDPOSE_BROKER_URL and HARDPOSE_CATALOG_URL (or HARDPOSE_HOME) to theirs.",
        )
    intake = asked.intake(settings.intake)
    _run_and_report(settings, asked.read, out, as_json, intake, not no_workers, priority)


@command
def demo(
    out: Out = Path("demo-out"),
    placement: Placement = None,
    as_json: Json = False,
) -> None:
    """Run the whole system on eight sample clips of an athlete, with the embedded models."""
    from tasks.runtime import Runtime
    from workers.downloads.samples import demo_clips

    settings = _settings_for_run(out, placement=placement)
    typer.echo("the sample clips: fetched once (51 MB; BSD-3, package pose2sim)", err=True)
    clips = demo_clips(Runtime(settings).weights)
    _run_and_report(settings, lambda: [str(clip) for clip in clips], out, as_json)


def _settings_for_run(out: Path, **given: Any) -> Settings:
    """The settings of a run: its state lives beside its data set, unless a home is configured."""
    settings = read_settings(**given)
    if "home" in settings.model_fields_set:
        return settings
    home = out.absolute() / "state"
    if settings.broker_url is None or settings.catalog_url is not None:
        return settings.model_copy(update={"home": home})
    # A catalog of its own on a shared broker: its messages must not reach the workers of another run.
    own = OWN_NAMESPACE + canonical_hash(str(home))
    return settings.model_copy(update={"home": home, "namespace": settings.namespace or own})


def _run_and_report(
    settings: Settings,
    links: Callable[[], list[str]],
    out: Path,
    as_json: bool,
    intake: Intake = _ANY,
    local_workers: bool = True,
    priority: Priority | None = None,
) -> None:
    from api.progress import choose_view

    with choose_view(as_json) as view:
        view.say("hardpose: looking at the links")
        # Imported after the first word: the libraries behind these take seconds on a cold disk.
        from api.run import run_job
        from api.summary import summary_json, summary_lines

        job, published = run_job(settings, links(), out, view, local_workers, intake, priority)
    if as_json:
        typer.echo(json.dumps({"event": "finished", **summary_json(job, published)}))
    else:
        typer.echo("\n".join(summary_lines(job, published)))
    raise typer.Exit(exit_code(job))


@command
@takes_links
def enqueue(
    asked: Asked,
    home: Home = None,
    threshold: Threshold = None,
    pose: Pose = None,
    masks: Masks = None,
    device: Device = None,
    priority: Urgency = None,
    as_json: Json = False,
) -> None:
    """Put links on the queue of a running system and return at once; prints the job's id."""
    from api.local import attach
    from api.orders import enqueue as send
    from tasks.runtime import Runtime

    settings = attach(read_settings(home=home, **_recipe_overrides(threshold, pose, masks, device)))
    wanted = asked.read()
    job_id = send(Runtime(settings), wanted, asked.intake(settings.intake), priority)
    typer.echo(json.dumps({"job_id": job_id, "links": len(wanted)}) if as_json else job_id)


@command
def status(
    job_id: MaybeJobId = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show how far jobs are, and what failed and why."""
    from api.device_wait import ask_device, devices_waited_for
    from api.downloads import DownloadsState
    from api.local import attach, has_catalog
    from api.status import print_job, print_jobs
    from api.unfit_workers import unfit_workers
    from api.waiting import ask_parked

    settings = read_settings(home=home)
    if job_id is not None:
        job = _catalog_of(settings).job(job_id)
        live = attach(settings)
        parked, away = ask_parked(live, job_id)
        device, unfit = ask_device(live, job), unfit_workers(live)
        print_job(job, as_json, parked, away, home=home, device=device, unfit=unfit)
    else:
        jobs = _catalog_of(settings).jobs() if has_catalog(settings) else []
        live = attach(settings)
        print_jobs(jobs, DownloadsState.of(live), as_json, devices_waited_for(live), unfit_workers(live))


@command
def watch(job_id: JobId, home: Home = None, as_json: Json = False) -> None:
    """Follow a job until it ends. Ctrl-C stops the watching, not the job."""
    from api.failures import retry_command
    from api.local import attach
    from api.progress import choose_view
    from api.run import watch_job
    from api.summary import summary_json, summary_lines
    from tasks.runtime import Runtime

    settings = attach(read_settings(home=home))
    _catalog_of(settings).job_light(job_id)  # an unknown job ends it here
    with choose_view(as_json) as view:
        job = watch_job(Runtime(settings), job_id, view)
    if as_json:
        typer.echo(json.dumps({"event": "finished", **summary_json(job)}))
    else:
        typer.echo("\n".join(summary_lines(job, retry=retry_command(job.id, home))))
    raise typer.Exit(exit_code(job))


@command
def retry(
    job_id: MaybeJobId = None, reason: Reasons = None, home: Home = None, as_json: Json = False
) -> None:
    """Try again what failed, in one job or in all; a running system does the work."""
    from api.local import attach
    from api.retry import print_sent
    from api.retry import retry as again
    from tasks.runtime import Runtime

    settings = attach(read_settings(home=home))
    _catalog_of(settings)  # a folder without jobs ends it here
    print_sent(again(Runtime(settings), job_id, reason or ()), as_json, home)


# The order of `hardpose --help` is that of the registrations: the work, its fruit, then the system.
register_ending(cli)
register_review(cli)
register_report(cli)
register_export(cli)


@command
def worker(
    queues: Annotated[
        list[str] | None, typer.Argument(help="download, pose, mask, me, compare, pose+mask ..., or export")
    ] = None,
    home: Home = None,
    name: Annotated[str | None, typer.Option(help="Name shown in Flower.")] = None,
    gpu: Annotated[
        str | None,
        typer.Option(help="Number or UUID as nvidia-smi -L says; several, as 0,2, or all: one process each."),
    ] = None,
    slots: Annotated[int | None, typer.Option(help="Processes on each GPU, each with its share.")] = None,
    gpu_memory: Annotated[
        str | None, typer.Option(help="Most GPU memory of one process, such as 8GiB.")
    ] = None,
    device: Annotated[
        Path | None, typer.Option(help="Drive the device that this page (me.toml) describes, alone.")
    ] = None,
) -> None:
    """Serve one or more queues until told to stop."""
    from api.local import attach
    from workers.gpu_slots import spreads

    end_well_on_sigterm()
    given = read_settings(home=home, gpu=gpu, gpu_slots=slots, gpu_memory=gpu_memory, device=device)
    settings = attach(given)
    if spreads(settings):
        from workers.gpu_host import serve_gpus

        serve_gpus(settings, queues or (), name)
    else:
        from workers.process import serve

        serve(settings, queues or (), name)


@command
def up(
    home: Home = None,
    flower_port: Annotated[int, typer.Option(help="0 for no Flower.")] = 5555,
    api_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default 8642, or any if taken; 0 for no API.")
    ] = None,
) -> None:
    """Keep the system running on this machine: broker, one worker for each queue, the API, and Flower."""
    from api.up import keep_up

    keep_up(read_settings(home=home), flower_port, api_port)


serve_cli.register(cli)
register_flower(cli)


@command
def doctor(home: Home = None, as_json: Json = False) -> None:
    """Say what is missing on this machine and how to get it."""
    from api.doctor import diagnose, print_findings

    findings = diagnose(read_settings(home=home))
    print_findings(findings, as_json)
    raise typer.Exit(ExitCode.OK if all(f.ok or f.optional for f in findings) else ExitCode.ENVIRONMENT)


def main() -> None:
    """Entry point of the ``hardpose`` command."""
    cli()


if __name__ == "__main__":
    main()
