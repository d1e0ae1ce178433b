"""``hardpose report``: where the device fails, as one page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.guard import guarded, read_settings
from api.options import Home, Json, NothingGiven

if TYPE_CHECKING:
    from tasks.failure_report.write import Report


def register(cli: typer.Typer) -> None:
    """Adds the command to ``cli``."""
    cli.command("report")(guarded(report))


def report(
    job_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB]...", help="Without any: all jobs. With --devices: the devices."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The file; an older report there is replaced.")] = Path(
        "report.html"
    ),
    devices: Annotated[
        bool,
        typer.Option(
            "--devices",
            help="Set devices side by side instead: name two or more, each by NAME, NAME@FIRMWARE or recipe.",
        ),
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="With --devices: IoU below which a frame is hard, for all of them."),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write where the device fails, by pose, with pictures, counts and cost, into one HTML file."""
    from api.local import require_catalog
    from tasks.runtime import Runtime

    settings = read_settings(home=home)
    require_catalog(settings)
    if devices:
        from api.report_devices import report_devices

        report_devices(Runtime(settings), job_ids or (), out, threshold, as_json)
        return
    if threshold is not None:
        raise NothingGiven("--threshold says nothing without --devices.", "The jobs' recipes have one each.")
    from tasks.failure_report.write import write_report

    written = write_report(Runtime(settings), job_ids or (), out)
    typer.echo(json.dumps(_as_json(written)) if as_json else "\n".join(_lines(written)))


def _as_json(written: "Report") -> dict[str, object]:
    return {
        "report": str(written.path),
        "compared": written.compared,
        "hard": written.hard,
        "poses": {
            row.pose: {"frames": row.frames, "hard": row.hard, "mean_iou": round(row.mean.value, 4)}
            for row in written.rows
        },
    }


def _lines(written: "Report") -> list[str]:
    poses = [
        f"  {row.name:<16} {row.hard} of {row.frames} hard, mean IoU {row.mean.value:.2f}"
        + (" (too few to say)" if row.few else "")
        for row in written.rows
    ]
    return [
        f"{written.hard} of {written.compared} compared frames are hard",
        *poses,
        f"report: {written.path}",
    ]
