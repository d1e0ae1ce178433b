"""COCO instances, one JSON a split, with masks as RLE or as polygons."""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from broker.recipe import Recipe
from tasks.dataset import coco
from tasks.dataset.credits import model_credits
from tasks.dataset.pictures import Store
from tasks.exports.choice import Choice
from tasks.exports.json_lists import JsonLists
from tasks.exports.picked import SPLITS, Picked
from tasks.exports.pictures import Pictures, read_pictures, told_of
from tasks.exports.polygons import fidelity, rings
from workers.contracts import Mask

Segment = Callable[[Mask], Any]
"""From a mask to COCO's ``segmentation``."""


def write_rle(choice: Choice, store: Store, folder: Path) -> dict[str, Any]:
    """Writes ``images/SPLIT/`` and ``annotations/instances_SPLIT.json``, masks as compressed RLE.

    Raises:
        ArtifactMissing, PictureUnusable: see ``read_pictures``.
    """
    for split in SPLITS:
        _write_split(choice, split, store, folder, None)
    return {}


def write_polygons(choice: Choice, store: Store, folder: Path) -> dict[str, Any]:
    """The same, masks as polygons; returns how well these meet the masks, as ``polygon_iou``.

    Raises:
        ArtifactMissing, PictureUnusable: see ``read_pictures``.
    """
    met: list[float] = []

    def segment(mask: Mask) -> list[list[float]]:
        pieces = rings(mask)
        met.append(fidelity(mask, pieces))
        return [[round(n, 3) for n in ring.ravel().tolist()] for ring in pieces]

    for split in SPLITS:
        _write_split(choice, split, store, folder, segment)
    return polygon_iou(met)


def polygon_iou(met: list[float]) -> dict[str, Any]:
    """The least and the median IoU of masks and their polygons, for the data card."""
    return {"polygon_iou": {"min": round(min(met), 4), "median": round(median(met), 4)}} if met else {}


def _write_split(choice: Choice, split: str, store: Store, folder: Path, segment: Segment | None) -> None:
    frames = choice.of(split)
    if not frames and split != "train":
        return
    licences = {name: n for n, name in enumerate(sorted({f.video.licence for f in frames}), start=1)}
    (folder / "images" / split).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    with JsonLists(folder / "annotations" / f"instances_{split}.json", "images", "annotations") as lists:
        for number, frame in enumerate(frames, start=1):
            pictures = read_pictures(frame, store)
            (folder / "images" / split / f"{frame.name}.jpg").write_bytes(pictures.jpeg)
            lists.add("images", _image(number, frame, pictures, licences[frame.video.licence]))
            recipe = choice.recipes[frame.recipe_id]
            lists.add("annotations", _annotation(number, pictures, recipe, segment))
        lists.finish(
            info=_info(choice, split),
            licenses=[{"id": number, "name": name, "url": ""} for name, number in licences.items()],
            categories=[coco.PERSON],
        )


def _image(number: int, frame: Picked, pictures: Pictures, licence: int) -> dict[str, Any]:
    entry = coco.image_entry(number, pictures.shot, pictures.height, pictures.width, licence)
    del entry["mask_file"], entry["device_mask_file"]  # the masks are in the annotation
    return {**entry, **told_of(frame)}


def _annotation(number: int, pictures: Pictures, recipe: Recipe, segment: Segment | None) -> dict[str, Any]:
    """The teacher's mask as COCO's; the device's as RLE in a field of ours, which readers pass over."""
    mask = pictures.teacher.mask
    entry = coco.annotation_entry(number, pictures.shot, mask, recipe)
    if segment is not None:
        entry["segmentation"] = segment(mask)
    if pictures.device is not None:
        device = coco.annotation_entry(number, pictures.shot, pictures.device.mask, recipe)
        entry["device_segmentation"] = device["segmentation"]
    return entry


def _info(choice: Choice, split: str) -> dict[str, Any]:
    recipes = list(choice.recipes.values())
    return {
        "description": f"Masks of persons, made by a machine, none by hand; split {split} of an export.",
        "contributor": "hardpose",
        "version": "1",
        "url": "",
        "jobs": list(choice.jobs),
        "recipes": list(choice.recipes),
        "models": [credit.as_json() for credit in model_credits(recipes[0])] if recipes else [],
    }
