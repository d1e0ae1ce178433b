"""``annotations.json``: the data set in the COCO format (https://cocodataset.org/#format-data)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from broker.messages import Keypoints
from broker.recipe import Recipe
from broker.views import JobView
from tasks.dataset.credits import model_credits
from tasks.dataset.selection import Shot
from tasks.dataset.tables import provenance
from tasks.dataset.text import public_source
from workers.contracts import Mask

KEYPOINT_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""The 17 keypoints of a COCO person, in COCO's order."""

BODY_25_INDEX = (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11)
"""Where each of them stands in BODY_25 (OpenPose documentation, "Pose Output Format (BODY_25)")."""

SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9),
    (8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
"""Pairs of keypoints, counted from 1, as in COCO's own person annotations."""

PERSON = {
    "id": 1,
    "name": "person",
    "supercategory": "person",
    "keypoints": list(KEYPOINT_NAMES),
    "skeleton": [list(pair) for pair in SKELETON],
}


def image_entry(number: int, shot: Shot, height: int, width: int, licence: int) -> dict[str, Any]:
    """The COCO image of ``shot``.

    Args:
        number: its id, counted from 1.
        shot: the frame.
        height: in pixels.
        width: in pixels.
        licence: the id of its source's licence in ``licenses``.
    """
    return {
        "id": number,
        "file_name": f"{shot.name}.jpg",
        "width": width,
        "height": height,
        "license": licence,
        "video": shot.video.id,
        "source": public_source(shot.video.source),
        "title": shot.video.title,
        "uploader": shot.video.uploader,
        "time_ms": shot.keeper.time_ms,
        "iou": shot.keeper.iou,
        "mask_file": f"masks/{shot.name}.png",
        "device_mask_file": f"device/{shot.name}.png",
        **provenance(shot.video),
    }


def annotation_entry(number: int, shot: Shot, mask: Mask, recipe: Recipe) -> dict[str, Any]:
    """The one person of image ``number``; ``mask`` (H x W bool) is the teacher's.

    ``iscrowd`` is 0 although the segmentation is an RLE: readers that tell polygons from RLE by
    ``iscrowd`` are rare, readers that skip crowds in training are common, and a mask with several
    pieces and holes is not a polygon.
    """
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    keypoints = coco_keypoints(shot.keeper.keypoints, mask.shape, recipe.rule.min_confidence)
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "iscrowd": 0,
        "segmentation": {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")},
        "area": int(coco_mask.area(rle)),
        "bbox": [float(n) for n in coco_mask.toBbox(rle)],
        "keypoints": keypoints,
        "num_keypoints": sum(1 for v in keypoints[2::3] if v > 0),
        "keypoints_body_25": [round(float(n), 4) for point in shot.keeper.keypoints for n in point],
    }


def coco_keypoints(keypoints: Keypoints, size: tuple[int, ...], min_confidence: float) -> list[float]:
    """17 x (x, y, visibility), flat, in pixels.

    Args:
        keypoints: BODY_25.
        size: height and width of the frame.
        min_confidence: a point below it, or outside the frame, is "not labelled" (0, 0, 0). All others
            are 2, "labelled and visible": a pose model does not tell hidden points (1) from seen ones.
    """
    flat: list[float] = []
    for index in BODY_25_INDEX:
        x, y, confidence = keypoints[index]
        inside = 0 <= x < size[1] and 0 <= y < size[0]
        seen = inside and confidence > 0 and confidence >= min_confidence
        flat += [round(float(x), 2), round(float(y), 2), 2] if seen else [0, 0, 0]
    return flat


def licence_ids(written: Sequence[Shot]) -> dict[str, int]:
    """An id, counted from 1, for each licence of the source videos."""
    return {name: n for n, name in enumerate(sorted({s.video.licence for s in written}), start=1)}


def document(
    job: JobView, licences: dict[str, int], images: list[dict[str, Any]], people: list[dict[str, Any]]
) -> dict[str, Any]:
    """The whole of ``annotations.json``."""
    teacher, device = job.recipe.mask_model, job.recipe.device_model
    return {
        "info": {
            "description": (
                f"Frames on which the device's person segmentation ({device.name} {device.version}) fails. "
                f"All masks are made by a machine ({teacher.name} {teacher.version}), none by hand."
            ),
            "contributor": "hardpose",
            "version": "1",
            "url": "",
            "year": int(job.created_at[:4]) if job.created_at[:4].isdigit() else 0,
            "date_created": job.created_at,
            "job": job.id,
            "recipe": job.recipe.id,
            "models": [credit.as_json() for credit in model_credits(job.recipe)],
        },
        "licenses": [{"id": number, "name": name, "url": ""} for name, number in licences.items()],
        "images": images,
        "annotations": people,
        "categories": [PERSON],
    }
