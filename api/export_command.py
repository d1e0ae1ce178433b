"""``hardpose export``: frames with masks, as trainers read them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from api.guard import guarded, read_settings
from api.options import Home, Json, NothingGiven
from api.printable import counted
from broker.errors import SettingsError
from broker.exports import ExportFormat, ExportSpec, Split
from broker.frame_views import PoseClass, Review
from broker.messages import Verdict
from broker.settings import Settings

if TYPE_CHECKING:
    from tasks.exports.write import Written

KEPT = (Verdict.EASY, Verdict.HARD)
FRAMED = (*KEPT, Verdict.TEACHER_NONE, Verdict.TEACHER_SEVERAL, Verdict.TEACHER_DOUBT, Verdict.CUT_BY_FRAME)
"""Verdicts that come after the full-body filter: only those frames are in the books one by one."""
SPLITS = tuple(Split.model_fields)


def _names(values: Iterable[str]) -> str:
    return ", ".join(values)


def register(cli: typer.Typer) -> None:
    """Adds the command to ``cli``."""
    cli.command("export")(guarded(export))


def export(
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="JOB", help="Of these; without any, of all jobs.")
    ] = None,
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"{_names(ExportFormat)}. The first is the folder that run leaves, of one job.",
        ),
    ] = ExportFormat.DATASET,
    out: Annotated[Path, typer.Option(help="The export goes to OUT/FORMAT.")] = Path("hardpose-out"),
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Kept frames with an IoU below it, in place of the hard ones."),
    ] = None,
    min_iou: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only frames with at least this IoU.")
    ] = None,
    verdict: Annotated[
        list[Verdict] | None,
        typer.Option(metavar="VERDICT", help=f"{_names(FRAMED)} (default hard); repeatable."),
    ] = None,
    review: Annotated[
        list[Review] | None,
        typer.Option(metavar="STATE", help=f"{_names(Review)} (default all but rejected); repeatable."),
    ] = None,
    pose: Annotated[
        list[PoseClass] | None, typer.Option(metavar="POSE", help=f"{_names(PoseClass)}; repeatable.")
    ] = None,
    video: Annotated[
        list[str] | None, typer.Option(help="Frames of this video, by its id; repeatable.")
    ] = None,
    control: Annotated[
        int, typer.Option(min=0, help="So many other kept frames, at random, as a control arm.")
    ] = 0,
    split: Annotated[
        str, typer.Option(help="Train/validation/test in percent, by video: 80/10/10.")
    ] = "100/0/0",
    seed: Annotated[int, typer.Option(min=0, help="Of the split and of the control arm.")] = 0,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write frames with masks: the data set of a job, or a selection as COCO, YOLO, WebDataset and others."""
    from api.local import require_catalog

    settings = read_settings(home=home)
    require_catalog(settings)
    verdicts = verdict or (KEPT if threshold is not None else (Verdict.HARD,))
    bounds = {"below_iou": threshold, "min_iou": min_iou, "verdicts": verdicts}
    chosen = {"jobs": jobs or (), "reviews": review or (), "poses": pose or (), "videos": video or ()}
    spec = _spec(form, {**bounds, **chosen}, control=control, split=_split(split), seed=seed)
    if form == ExportFormat.DATASET:
        _data_set(settings, spec, out, home, as_json)
    else:
        _selection(settings, spec, out, as_json)


def _spec(form: ExportFormat, frames: dict[str, Any], **values: Any) -> ExportSpec:
    """The order.

    Raises:
        NothingGiven: the data set of no job, or of several.
        SettingsError: options that do not go together.
    """
    if form == ExportFormat.DATASET and len(frames["jobs"]) != 1:
        raise NothingGiven(
            "A data set is of one job.", "Name it, or a format that holds several: --format coco."
        )
    try:
        return ExportSpec.model_validate({"format": form, "frames": frames, **values})
    except ValidationError as error:
        fault = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise SettingsError(
            f"These options do not go together: {fault}.",
            "A selection, a split or a control arm wants a format of its own, such as --format coco."
            if form == ExportFormat.DATASET
            else "`hardpose export --help` says what each means.",
        ) from error


def _split(text: str) -> Split:
    """Reads ``80/10/10``; what is not named is 0.

    Raises:
        SettingsError: it is none.
    """
    try:
        shares = [float(part) / 100 for part in text.split("/")]
        return Split(**dict(zip(SPLITS, shares + [0.0] * (len(SPLITS) - len(shares)), strict=True)))
    except (ValueError, ValidationError) as error:
        raise SettingsError(
            f"{text!r} is no split.", "Name train, validation and test in percent, 100 in all: 80/10/10."
        ) from error


def _data_set(settings: Settings, spec: ExportSpec, out: Path, home: Path | None, as_json: bool) -> None:
    from api.failures import retry_command
    from api.summary import summary_json, summary_lines
    from tasks.publish import publish
    from tasks.runtime import Runtime

    here = Runtime(settings)
    job = here.catalog.job(spec.frames.jobs[0])
    published = publish(job, here.artifacts, out)
    if as_json:
        typer.echo(json.dumps(summary_json(job, published)))
    else:
        typer.echo("\n".join(summary_lines(job, published, retry=retry_command(job.id, home))))


def _selection(settings: Settings, spec: ExportSpec, out: Path, as_json: bool) -> None:
    from tasks.exports.make import write_spec
    from tasks.runtime import Runtime

    here = Runtime(settings)
    for job in spec.frames.jobs:
        here.catalog.work.summary(job)  # an unknown one ends it here, before an older export is replaced
    for video in spec.frames.videos:
        here.catalog.videos.get(video)
    written = write_spec(here, spec, out)
    if as_json:
        typer.echo(json.dumps({"folder": str(written.folder), "counts": written.counts}))
    else:
        typer.echo("\n".join(_lines(written, spec)))


def _lines(written: "Written", spec: ExportSpec) -> list[str]:
    counts = written.counts
    frames = sum(counts[name] for name in SPLITS)
    parts = ", ".join(f"{counts[name]:,} {name}" for name in SPLITS if counts[name])
    of_videos = f"{counted(frames, 'frame')} of {counted(counts['videos'], 'video')}"
    lines = [of_videos + (f": {parts}" if parts else "")]
    if counts["left_out"]:
        lines.append(f"{counts['left_out']:,} more left out: what they show is among these")
    if counts["without_mask"]:
        lines.append(f"{counts['without_mask']:,} more without a mask; csv and parquet would hold them")
    if spec.control:
        fewer = (
            "" if counts["control"] == spec.control else f", of {spec.control:,} asked for: there are no more"
        )
        lines.append(f"control arm: {counts['control']:,} of these{fewer}")
    if not frames and not counts["without_mask"]:
        lines.append("Nothing matches: `hardpose status JOB` says what was kept.")
    return [*lines, f"{spec.format}: {written.folder}"]
