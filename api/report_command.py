"""``hardpose report``: where the device fails, as one page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.guard import guarded, read_settings
from api.options import Home, Json

if TYPE_CHECKING:
    from tasks.failure_report.write import Report


def register(cli: typer.Typer) -> None:
    """Adds the command to ``cli``."""
    cli.command("report")(guarded(report))


def report(
    job_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]...", help="Without any: all jobs.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The file; an older report there is replaced.")] = Path(
        "report.html"
    ),
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write where the device fails, by pose, with pictures, counts and cost, into one HTML file."""
    from api.local import require_catalog
    from tasks.failure_report.write import write_report
    from tasks.runtime import Runtime

    settings = read_settings(home=home)
    require_catalog(settings)
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
