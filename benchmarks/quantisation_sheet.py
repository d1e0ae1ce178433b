"""A sheet of pictures: where the float and the 8-bit network's masks differ most."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from tasks.iou import mask_iou
from workers.contracts import Image, Mask
from workers.pictures import encode_png, resized

ROWS, HEIGHT, GAP = 10, 320, 4
TINT = np.array([255, 0, 80])


class Shown(Protocol):
    """A frame with the teacher's mask."""

    image: Image
    teacher: Mask


def write_sheet(
    path: Path, pairs: Sequence[Shown], floats: Sequence[Mask], quantised: Sequence[Mask]
) -> None:
    """Writes a PNG: each row a frame, then with the teacher's, the float and the 8-bit mask."""
    agreed = [mask_iou(a, b) for a, b in zip(floats, quantised, strict=True)]
    rows = []
    for i in sorted(range(len(pairs)), key=agreed.__getitem__)[:ROWS]:
        image = pairs[i].image
        views = (image, *(_tinted(image, mask) for mask in (pairs[i].teacher, floats[i], quantised[i])))
        rows.append(np.hstack([_sized(view) for view in views]))
    width = max(row.shape[1] for row in rows)
    path.write_bytes(encode_png(np.vstack([_padded(row, width) for row in rows])))


def _tinted(image: Image, mask: Mask) -> Image:
    shown = image // 2
    shown[mask] += (TINT // 2).astype(np.uint8)
    return shown


def _sized(image: Image) -> Image:
    height, width = image.shape[:2]
    small = resized(image, max(1, width * HEIGHT // height), HEIGHT)
    return np.pad(small, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


def _padded(row: Image, width: int) -> Image:
    return np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255)
