"""An export, from the order to the folder."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.exports import ExportFormat
from tasks.dataset.credits import model_credits
from tasks.dataset.folder import replaced
from tasks.dataset.pictures import Store
from tasks.dataset.text import json_bytes
from tasks.exports.choice import TABLES, Choice
from tasks.exports.coco import write_polygons, write_rle
from tasks.exports.data_card import data_card
from tasks.exports.fiftyone import write_fiftyone
from tasks.exports.folders import write_folders
from tasks.exports.parquet import write_parquet
from tasks.exports.provenance import write_csv
from tasks.exports.shards import write_shards
from tasks.exports.yolo import write_yolo

log = logging.getLogger(__name__)

MARK = "export.json"
"""The file by which an export of ours is known."""
FORMAT = "hardpose export"

Writer = Callable[[Choice, Store, Path], dict[str, Any]]
WRITERS: dict[ExportFormat, Writer] = {
    ExportFormat.FOLDERS: write_folders,
    ExportFormat.COCO: write_rle,
    ExportFormat.COCO_POLYGONS: write_polygons,
    ExportFormat.YOLO_SEG: write_yolo,
    ExportFormat.WEBDATASET: write_shards,
    ExportFormat.FIFTYONE: write_fiftyone,
}
"""The formats with pictures."""


@dataclass(frozen=True)
class Written:
    """An export that was written.

    Attributes:
        folder: where it is.
        counts: as in ``broker.exports.ExportView``.
        videos: ids of the videos that it holds frames of.
        analyses: video and recipe of all its frames.
    """

    folder: Path
    counts: dict[str, int]
    videos: list[str]
    analyses: frozenset[tuple[str, str]]


def write_export(choice: Choice, store: Store, folder: Path) -> Written:
    """Writes the frames of ``choice`` into ``folder``, replacing an older export there.

    The same choice and pictures give the same bytes: no clock, no host, no chance is in any file. The
    folder appears whole or not at all.

    Args:
        choice: frames and order; of any format but ``dataset``, which is ``tasks.publish``.
        store: holds the pictures; not asked for tables.
        folder: where to; its parents are made.

    Raises:
        ArtifactMissing, PictureUnusable: a picture is gone or damaged; names the frame.
        MissingDependency: the format needs a package that is not installed.
        ForeignFolder, DiskFull, OutputUnusable: see ``replaced``.
    """
    form = choice.spec.format
    with replaced(folder, MARK) as fresh:
        facts = WRITERS[form](choice, store, fresh) if form not in TABLES else {}
        if form == ExportFormat.PARQUET:
            write_parquet(choice, fresh / "frames.parquet")
        else:
            write_csv(choice, fresh / "frames.csv")
        (fresh / MARK).write_bytes(json_bytes(_record(choice, facts)))
        (fresh / "README.md").write_text(data_card(choice, facts), encoding="utf-8")
        (fresh / "SHA256SUMS").write_text(_sums(fresh), encoding="utf-8")
    log.info("Exported %d frames as %s to %s", len(choice.frames), form, folder)
    analyses = frozenset((frame.video.id, frame.recipe_id) for frame in choice.frames)
    return Written(folder, choice.counts, [video.id for video in choice.videos], analyses)


def _record(choice: Choice, facts: dict[str, Any]) -> dict[str, Any]:
    """``export.json``: no time and no machine, so that it is the same for the same frames."""
    recipes = list(choice.recipes.values())
    return {
        "format": FORMAT,
        "version": 1,
        "spec": choice.spec.model_dump(mode="json"),
        "counts": choice.counts,
        "jobs": list(choice.jobs),
        "recipes": list(choice.recipes),
        "models": [credit.as_json() for credit in model_credits(recipes[0])] if recipes else [],
        **facts,
    }


def _sums(folder: Path) -> str:
    """A line a file, as ``sha256sum --check`` reads it."""
    lines = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    return "".join(lines)
