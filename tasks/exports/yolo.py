"""Ultralytics' segmentation folder: ``data.yaml``, ``images/SPLIT``, ``labels/SPLIT``.

After https://docs.ultralytics.com/datasets/segment: a row is one instance, ``0 x1 y1 x2 y2 ...`` in shares of
the picture's width and height.
"""

from pathlib import Path
from typing import Any

from tasks.dataset.pictures import Store
from tasks.exports.choice import Choice
from tasks.exports.coco import polygon_iou
from tasks.exports.picked import SPLITS, Arm
from tasks.exports.pictures import Pictures, read_pictures
from tasks.exports.polygons import Ring, filled_fidelity, joined, pixel_rings


def write_yolo(choice: Choice, store: Store, folder: Path) -> dict[str, Any]:
    """Writes the folder; returns how well the polygons meet the masks, as ``polygon_iou``.

    A person in several pieces is one row, its pieces joined by bridges of no width, as Ultralytics' own
    converter from COCO does: a row a piece would be that many people. ``data.yaml`` names no ``path``, so
    the folder may lie anywhere. Frames of the control arm are also listed in ``control.txt``.

    Raises:
        ArtifactMissing, PictureUnusable: see ``read_pictures``.
    """
    met: list[float] = []
    for split in ("train", "val"):  # Ultralytics wants both to be named
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
    for frame in choice.frames:
        pictures = read_pictures(frame, store)
        ring = _whole(pictures)
        met.append(filled_fidelity(pictures.teacher.mask, ring))
        for kind in ("images", "labels"):
            (folder / kind / frame.split).mkdir(exist_ok=True)
        (folder / "images" / frame.split / f"{frame.name}.jpg").write_bytes(pictures.jpeg)
        (folder / "labels" / frame.split / f"{frame.name}.txt").write_text(_row(ring, pictures))
    (folder / "data.yaml").write_text(_data_yaml(choice))
    control = [f"./images/{f.split}/{f.name}.jpg\n" for f in choice.frames if f.arm == Arm.CONTROL]
    (folder / "control.txt").write_text("".join(control))
    return polygon_iou(met)


def _whole(pictures: Pictures) -> Ring | None:
    pieces = pixel_rings(pictures.teacher.mask)
    return joined(pieces) if pieces else None


def _row(ring: Ring | None, pictures: Pictures) -> str:
    """The label file; empty, which is background, for a mask without a pixel."""
    if ring is None:
        return ""
    shares = ring / (pictures.width, pictures.height)
    return "0 " + " ".join(f"{n:.6f}" for n in shares.ravel().tolist()) + "\n"


def _data_yaml(choice: Choice) -> str:
    used = {"train", "val", *(frame.split for frame in choice.frames)}
    lines = [f"{split}: images/{split}" for split in SPLITS if split in used]
    return "\n".join([*lines, "names:", "  0: person"]) + "\n"
