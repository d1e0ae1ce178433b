"""Makes the failure report and puts it in its place, whole or not at all."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.errors import NotFound
from broker.frame_views import FrameDetail, FrameFilter, PoseClass, Review
from broker.messages import Verdict
from tasks.failure_report.file import ForeignFile as ForeignFile
from tasks.failure_report.file import put_page, refuse_foreign
from tasks.failure_report.page import render
from tasks.failure_report.pictures import Portrait, portrait
from tasks.failure_report.poses import PoseRow, pose_rows
from tasks.failure_report.scope import scope_of
from tasks.failure_report.tally import Tally, tally
from tasks.frame_facts import class_old_frames
from tasks.runtime import Runtime

log = logging.getLogger(__name__)

PICTURES = 8
"""Of each pose class: 72 of them are some 1.5 MB."""
COMPARED = (Verdict.EASY, Verdict.HARD)
UNREJECTED = tuple(review for review in Review if review != Review.REJECTED)


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        path: of the file.
        compared: frames that have both masks, without those that reviewers have rejected.
        hard: those of them below the threshold.
        rows: by pose, the largest share of hard frames first.
    """

    path: Path
    compared: int
    hard: int
    rows: tuple[PoseRow, ...]


def write_report(runtime: Runtime, job_ids: Sequence[str], path: Path) -> Report:
    """Writes where the device fails, over some jobs.

    Reads the frames as a stream: what is held of each is a number, and eight pictures of each pose.

    Args:
        runtime: of this process.
        job_ids: the jobs; none for all that there are.
        path: the file; a report that is there is replaced.

    Raises:
        NotFound: no such job, or no job at all.
        MixedDevices: the jobs have tried different devices, or used different teachers.
        ForeignFile: ``path`` is something else than a report.
        OutputUnusable: it cannot be written.
        CatalogUnavailable, CatalogBroken: the books cannot be read.
    """
    refuse_foreign(path)
    scope = scope_of(runtime.catalog, job_ids)
    class_old_frames(runtime)
    frames = runtime.catalog.frames
    where = FrameFilter(jobs=tuple(job.id for job in scope.jobs), verdicts=COMPARED)
    rejected = frames.count(where.model_copy(update={"reviews": (Review.REJECTED,)}))
    unrejected = where.model_copy(update={"reviews": UNREJECTED})
    counted = tally(frames.each(unrejected), scope.recipe.comparison.iou_threshold, scope.recipe_ages)
    rows = pose_rows(counted)
    portraits = {row.pose: list(_portraits(runtime, counted, row.pose)) for row in rows}
    put_page(path, render(scope, counted, rejected, rows, portraits))
    return Report(path, counted.count, counted.hard, tuple(rows))


def _portraits(runtime: Runtime, counted: Tally, pose: PoseClass) -> Iterator[Portrait]:
    for _, frame_id in counted.worst(pose, PICTURES):
        frame = _still_there(runtime, frame_id)
        if frame is not None:
            yield portrait(frame, runtime.artifacts)


def _still_there(runtime: Runtime, frame_id: str) -> FrameDetail | None:
    try:
        return runtime.catalog.frames.get(frame_id)
    except NotFound:
        log.info("the frame %s was removed while the report was made", frame_id)
        return None
