"""Publishing: from a job in the catalog to the data set on disk."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.recipe import Recipe
from broker.views import JobView
from tasks.dataset import coco
from tasks.dataset.contact_sheet import ContactSheet
from tasks.dataset.folder import replaced
from tasks.dataset.funnel_book import funnel_document
from tasks.dataset.pictures import Store, read_frame, read_mask
from tasks.dataset.report import render_report
from tasks.dataset.selection import Selection, Shot, select
from tasks.dataset.tables import frames_csv, verdicts_csv
from tasks.dataset.text import json_bytes

log = logging.getLogger(__name__)

MARK = "funnel.json"
"""The file by which a data set of ours is known."""


@dataclass(frozen=True)
class Published:
    """A data set that was written.

    Attributes:
        folder: ``OUT/dataset``.
        images: how many frames it holds.
        left_out: how many hard frames were left out because they repeat one of these.
        report: ``OUT/dataset/report.html``.
    """

    folder: Path
    images: int
    left_out: int
    report: Path


def publish(job: JobView, artifacts: Store, out: Path) -> Published:
    """Writes the hard frames of ``job`` as a data set into ``out/dataset``, replacing an older one there.

    The same input gives the same bytes. The folder appears whole or not at all.

    Args:
        job: the full view, with keepers and drops.
        artifacts: the store that holds its pictures.
        out: where the folder ``dataset`` goes; made when missing.

    Raises:
        ForeignFolder: ``out/dataset`` holds something that hardpose did not write.
        ArtifactMissing: a picture is not in the store, or damaged; names the frame.
        FunnelMismatch: the job's counts do not add up.
        DiskFull: there is no room for it.
        OutputUnusable: ``out`` cannot be written for another reason.
    """
    folder = out / "dataset"
    selection = select(job)
    funnel = funnel_document(job, selection)
    with replaced(folder, MARK) as fresh:
        sheet = ContactSheet.plan(selection)
        _write_pictures(job, selection, artifacts, fresh, sheet)
        (fresh / "frames.csv").write_bytes(frames_csv(selection.written, job.recipe))
        (fresh / "verdicts.csv").write_bytes(verdicts_csv(job))
        (fresh / MARK).write_bytes(json_bytes(funnel))
        (fresh / "report.html").write_bytes(render_report(job, selection, sheet))
    log.info("Published %d frames of job %s in %s", len(selection.written), job.id, folder)
    return Published(folder, len(selection.written), len(selection.left_out), folder / "report.html")


def _write_pictures(
    job: JobView, selection: Selection, store: Store, folder: Path, sheet: ContactSheet
) -> None:
    """Writes images, masks and ``annotations.json``; a picture is in memory only while it is written."""
    for name in ("images", "masks", "device"):
        (folder / name).mkdir()
    licences = coco.licence_ids(selection.written)
    images: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    for number, shot in enumerate(selection.written, start=1):
        image, person = _write_frame(number, shot, store, folder, sheet, licences, job.recipe)
        images.append(image)
        people.append(person)
    for shot in sheet.doubtful_shots:
        frame = read_frame(shot, store)
        teacher = read_mask(shot, store, shot.keeper.mask_key, "teacher's mask", frame.bgr.shape[:2])
        sheet.add(shot, frame.bgr, teacher.mask, None)
    document = coco.document(job, licences, images, people)
    (folder / "annotations.json").write_bytes(json_bytes(document))


def _write_frame(
    number: int,
    shot: Shot,
    store: Store,
    folder: Path,
    sheet: ContactSheet,
    licences: dict[str, int],
    recipe: Recipe,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes the three pictures of a frame; its COCO image and annotation."""
    frame = read_frame(shot, store)
    height, width = frame.bgr.shape[:2]
    teacher = read_mask(shot, store, shot.keeper.mask_key, "teacher's mask", (height, width))
    device = read_mask(shot, store, shot.keeper.device_key, "device's mask", (height, width))
    (folder / "images" / f"{shot.name}.jpg").write_bytes(frame.jpeg)
    (folder / "masks" / f"{shot.name}.png").write_bytes(teacher.png)
    (folder / "device" / f"{shot.name}.png").write_bytes(device.png)
    sheet.add(shot, frame.bgr, teacher.mask, device.mask)
    image = coco.image_entry(number, shot, height, width, licences[shot.video.licence])
    return image, coco.annotation_entry(number, shot, teacher.mask, recipe)
