"""``hardpose report --devices``: several devices on the same frames, in lines, as JSON, and as one page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from api.printable import counted, printable
from tasks.device_report.contrast import Outcome
from tasks.device_report.page import Section
from tasks.device_report.rows import ContrastRow
from tasks.device_report.write import DeviceReport, write_device_report
from tasks.runtime import Runtime


def report_devices(
    runtime: Runtime, names: Sequence[str], out: Path, threshold: float | None, as_json: bool
) -> None:
    """Writes the page and says what is in it.

    Raises:
        HardposeError: see ``write_device_report``.
    """
    written = write_device_report(runtime, names, out, threshold)
    typer.echo(json.dumps(document(written)) if as_json else "\n".join(lines(written)))


def document(written: DeviceReport) -> dict[str, Any]:
    """All numbers of the report, and the ids of the frames that have changed sides."""
    counted_all, sides = written.tally, written.sides.each
    return {
        "report": str(written.path),
        "threshold": counted_all.threshold,
        "running": any(side.open for side in sides),
        "devices": [
            {
                "name": side.label,
                "recipes": side.recipes,
                "judged": counted_all.judged[number],
                "not_judged": {why: lacks.count for why, lacks in counted_all.absent[number].items()},
            }
            for number, side in enumerate(sides)
        ],
        "rejected": counted_all.rejected,
        "side_by_side": [_section(section) for section in written.sections],
        "agreement": [
            {
                "devices": [sides[a].label, sides[b].label],
                "frames": pair.frames,
                "mean_iou": _round(pair.mean_iou()),
                "same_verdict": _round(pair.same),
                "kappa": _round(pair.kappa),
            }
            for (a, b), pair in counted_all.agreements.items()
        ],
    }


def _section(section: Section) -> dict[str, Any]:
    changed = section.contrast.changed
    return {
        "old": section.old,
        "new": section.new,
        "frames": section.contrast.count,
        **{outcome.value: section.count(outcome) for outcome in Outcome},
        "p": section.p,
        "all": _row(section.whole) if section.whole else None,
        "poses": {str(row.pose): _row(row) for row in section.rows},
        "frames_fixed": [change.new for change in changed[Outcome.FIXED]],
        "frames_newly_broken": [change.new for change in changed[Outcome.BROKEN]],
    }


def _row(row: ContrastRow) -> dict[str, Any]:
    return {
        "frames": row.frames,
        "mean_iou": [_round(row.before), _round(row.after)],
        "gain": _round(row.gain.value),
        "gain_interval": [_round(row.gain.low), _round(row.gain.high)] if row.gain.bounded else None,
        "by_video": row.by_video,
        "fixed": row.fixed,
        "newly_broken": row.broken,
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def lines(written: DeviceReport) -> list[str]:
    """The report for a terminal."""
    found: list[str] = []
    for section in written.sections:
        found += _told(section)
    for (a, b), pair in written.tally.agreements.items():
        if pair.frames:
            labels = " and ".join(printable(written.sides.each[side].label) for side in (a, b))
            iou, kappa = pair.mean_iou(), pair.kappa
            found.append(
                f"{labels}: same verdict on {100 * (pair.same or 0):.0f} %, masks overlap with IoU "
                f"{'-' if iou is None else f'{iou:.3f}'}, kappa {'-' if kappa is None else f'{kappa:.2f}'}"
            )
    for side, reasons in zip(written.sides.each, written.tally.absent, strict=True):
        for why, lacks in sorted(reasons.items()):
            found.append(f"not judged by {printable(side.label)}: {counted(lacks.count, 'frame')} ({why})")
    if written.tally.rejected:
        found.append(f"left out: {counted(written.tally.rejected, 'frame')} that reviewers have rejected")
    return [*found, f"report: {written.path}"]


def _told(section: Section) -> list[str]:
    whole = section.whole
    names = f"{printable(section.new)} against {printable(section.old)}"
    if whole is None:
        return [f"{names}: no frame in common"]
    interval = f" ({whole.gain.low:+.3f} to {whole.gain.high:+.3f})" if whole.gain.bounded else ""
    counts = ", ".join(f"{section.count(outcome):,} {outcome.replace('_', ' ')}" for outcome in Outcome)
    return [
        f"{names}, on {counted(whole.frames, 'frame')}: {counts}",
        f"  mean IoU {whole.before:.3f} -> {whole.after:.3f}{interval}",
        *(
            f"  {row.name:<16} {row.before:.3f} -> {row.after:.3f}, {row.fixed} fixed, "
            f"{row.broken} newly broken" + (" (too few to say)" if row.few else "")
            for row in section.rows
        ),
        f"  {printable(section.finding)}",
    ]
