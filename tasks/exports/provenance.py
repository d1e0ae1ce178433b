"""The provenance of an export's frames: a row a frame, the same columns as CSV and as Parquet."""

import csv
from collections.abc import Iterator
from pathlib import Path

from broker.recipe import Recipe
from tasks.dataset.tables import FRAME_COLUMNS, provenance
from tasks.dataset.text import Cell, public_source, safe_cell
from tasks.exports.choice import Choice
from tasks.exports.picked import Picked

OWN_COLUMNS = ("frame", "split", "arm", "pose_class", "doubt", "review", "value", "width", "height")
"""What an export tells of a frame beyond the columns of a data set's ``frames.csv``."""
WHOLE = frozenset({"time_ms", "width", "height"})
"""Columns of whole numbers."""
REAL = frozenset({"iou", "doubt", "value"})
"""Columns of numbers; so is every measure."""


def columns(choice: Choice) -> list[str]:
    """The fixed columns, then one for each measured number."""
    return [*FRAME_COLUMNS, *OWN_COLUMNS, *_measure_columns(choice).values()]


def real_columns(choice: Choice) -> set[str]:
    """Those that hold numbers with a fraction, or nothing."""
    return {*REAL, *_measure_columns(choice).values()}


def rows(choice: Choice) -> Iterator[list[Cell]]:
    """A row a frame, by video and time."""
    names = list(_measure_columns(choice))
    models = {name: _models(recipe) for name, recipe in choice.recipes.items()}
    for frame in choice.frames:
        yield _row(frame, models[frame.recipe_id], names)


def write_csv(choice: Choice, path: Path) -> None:
    """Writes the rows as ``path``: UTF-8, commas, one line feed a row, no formula in any cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns(choice))
        for row in rows(choice):
            writer.writerow([safe_cell(value) for value in row])


def _measure_columns(choice: Choice) -> dict[str, str]:
    """Measure -> its column."""
    taken = {*FRAME_COLUMNS, *OWN_COLUMNS}
    shared = {frame.measures[0] for frame in choice.frames}
    names = sorted({name for each in shared for name in each})
    return {name: f"measure_{name}" if name in taken else name for name in names}


def _models(recipe: Recipe) -> list[Cell]:
    models = (recipe.pose_model, recipe.mask_model, recipe.device_model)
    return [cell for m in models for cell in (m.name, m.version, m.sha256, m.licence)]


def _row(frame: Picked, models: list[Cell], names: list[str]) -> list[Cell]:
    video, measures = frame.video, dict(zip(*frame.measures, strict=True))
    return [
        f"{frame.name}.jpg",
        video.id,
        public_source(video.source),
        video.title,
        video.uploader,
        frame.time_ms,
        video.licence,
        *models,
        frame.recipe_id,
        frame.iou,
        str(frame.verdict),
        *provenance(video).values(),
        frame.frame_id,
        frame.split,
        str(frame.arm),
        None if frame.pose_class is None else str(frame.pose_class),
        frame.doubt,
        str(frame.review),
        frame.value,
        video.width,
        video.height,
        *(measures.get(name) for name in names),
    ]
