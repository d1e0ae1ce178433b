"""``hardpose devices replay``: another device, or new firmware, on the frames that are kept already."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.exit_codes import exit_code
from api.guard import guarded, read_settings
from api.options import Home, Json
from api.printable import counted, printable
from broker.priority import Priority

if TYPE_CHECKING:
    from broker.recipe import ModelSpec
    from tasks.replaying import Replay
    from tasks.runtime import Runtime


def register(devices_cli: typer.Typer) -> None:
    """Adds the command to ``hardpose devices``."""
    devices_cli.command("replay")(guarded(replay))


def replay(
    device: Annotated[
        str, typer.Option(help="Its name, its page (me.toml), a .tflite or .onnx file, or a driver's name.")
    ],
    bases: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="JOB|RECIPE", help="Only frames of these; repeatable. Default: all."),
    ] = None,
    device_threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Probability from which a pixel is person, of a device that does not say."
        ),
    ] = None,
    priority: Annotated[Priority, typer.Option(help="Of its work on every queue.")] = Priority.LOW,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it until it has ended.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Try a device on all frames that are kept: only me and compare run. The same again resumes it."""
    from api.local import attach, require_catalog
    from broker.recipe import Stage
    from tasks.replaying import replay_all
    from tasks.runtime import Runtime

    settings = attach(read_settings(home=home, device_model=device, device_threshold=device_threshold))
    require_catalog(settings)
    runtime = Runtime(settings)
    spec = runtime.models((Stage.ME,))[Stage.ME]
    done = replay_all(runtime, spec, bases or (), priority)
    if wait:
        typer.echo("\n".join(_lines(spec, done, home)), err=True)
        raise typer.Exit(_follow(runtime, done, as_json))
    typer.echo(json.dumps(as_document(spec, done)) if as_json else "\n".join(_lines(spec, done, home)))


def as_document(device: "ModelSpec", done: "Sequence[Replay]") -> dict[str, object]:
    """What was started, for programs."""
    return {"device": f"{device.name} {device.version}", "replays": [asdict(each) for each in done]}


def _follow(runtime: "Runtime", done: "Sequence[Replay]", as_json: bool) -> int:
    from api.progress import choose_view
    from api.run import watch_job
    from api.summary import summary_json, summary_lines

    codes = []
    for each in done:
        with choose_view(as_json) as view:
            job = watch_job(runtime, each.job_id, view)
        told = json.dumps({"event": "finished", **summary_json(job)})
        typer.echo(told if as_json else "\n".join(summary_lines(job)))
        codes.append(int(exit_code(job)))
    return max(codes)


def _lines(device: "ModelSpec", done: "Sequence[Replay]", home: Path | None) -> list[str]:
    named = f" --home {shlex.quote(str(home))}" if home else ""
    lines = []
    for each in done:
        left = sum(each.left_out.values())
        lines.append(
            f"{each.job_id}: {counted(each.segments, 'segment')} of {counted(each.videos, 'video')} sent to "
            f"{printable(device.name)} {printable(device.version)}, {each.done} done before; "
            f"`hardpose watch {each.job_id}{named}` follows"
        )
        if left:
            reasons = ", ".join(f"{count} {printable(why)}" for why, count in sorted(each.left_out.items()))
            lines.append(f"  {counted(left, 'segment')} left out: {reasons}")
            lines.append(f"  -> `hardpose retry {each.job_id}{named}` makes them anew, from the videos")
        sides = " ".join([*each.bases[:1], each.recipe_id])
        lines.append(f"  when it has ended: hardpose report --devices {sides}{named}")
    return lines
