"""FiftyOne's own folder, written as plain JSON: ``metadata.json``, ``samples.json``, ``data/``, ``fields/``.

After what ``dataset.export(dataset_type=fo.types.FiftyOneDataset)`` of FiftyOne 1.22 writes.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.pictures import Store
from tasks.exports.choice import Choice
from tasks.exports.json_lists import JsonLists
from tasks.exports.picked import Picked
from tasks.exports.pictures import Pictures, read_pictures, told_of
from tasks.exports.split import draw
from workers.pose.body25 import NAMES

VERSION = "1.0.0"
"""Of the layout: FiftyOne takes a folder of an older release than its own, not one of a newer."""
NAN = {"$numberDouble": "NaN"}
"""MongoDB Extended JSON; FiftyOne's mark of a keypoint that is not there."""

BONES = (
    (1, 8), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (8, 9), (9, 10), (10, 11), (8, 12), (12, 13),
    (13, 14), (1, 0), (0, 15), (15, 17), (0, 16), (16, 18), (14, 19), (19, 20), (14, 21), (11, 22),
    (22, 23), (11, 24),
)  # fmt: skip
"""The pairs of BODY_25 that are joined (OpenPose documentation, "Pose Output Format (BODY_25)")."""

_FIELDS = "fiftyone.core.fields."
_TEXT, _WHOLE, _REAL = "StringField", "IntField", "FloatField"
_OWN = {
    "frame": _TEXT, "video": _TEXT, "source": _TEXT, "title": _TEXT, "uploader": _TEXT,
    "source_licence": _TEXT, "time_ms": _WHOLE, "split": _TEXT, "arm": _TEXT, "verdict": _TEXT,
    "value": _REAL, "iou": _REAL, "doubt": _REAL, "pose_class": _TEXT, "review": _TEXT, "recipe": _TEXT,
}  # fmt: skip
"""Fields of a sample: those of ``told_of``."""


def write_fiftyone(choice: Choice, store: Store, folder: Path) -> dict[str, Any]:
    """Writes the folder. The masks stay files (``mask_path``); split and arm are tags, the numbers fields.

    Raises:
        ArtifactMissing, PictureUnusable: see ``read_pictures``.
    """
    for name in ("data", "fields/teacher", "fields/device"):
        (folder / name).mkdir(parents=True)
    measures: set[str] = set()
    with JsonLists(folder / "samples.json", "samples") as lists:
        for frame in choice.frames:
            pictures = read_pictures(frame, store)
            (folder / "data" / f"{frame.name}.jpg").write_bytes(pictures.jpeg)
            (folder / "fields" / "teacher" / f"{frame.name}.png").write_bytes(pictures.teacher.png)
            if pictures.device is not None:
                (folder / "fields" / "device" / f"{frame.name}.png").write_bytes(pictures.device.png)
            numbers = _numbers(frame)
            measures.update(numbers)
            lists.add("samples", {**_sample(frame, pictures), **numbers})
        lists.finish()
    with JsonLists(folder / "metadata.json", "sample_fields") as lists:
        for field in _schema(sorted(measures)):
            lists.add("sample_fields", field)
        lists.finish(**_metadata(choice))
    return {}


def _numbers(frame: Picked) -> dict[str, float]:
    """Measures under names that FiftyOne takes as fields, and that no other field has."""
    return {"measure_" + re.sub(r"\W", "_", n): v for n, v in zip(*frame.measures, strict=True)}


def _object_id(*words: str) -> dict[str, str]:
    """A MongoDB id that depends on what it names alone."""
    return {"$oid": hashlib.sha256("\n".join(words).encode()).hexdigest()[:24]}


def _sample(frame: Picked, pictures: Pictures) -> dict[str, Any]:
    width, height = pictures.width, pictures.height
    image = {"size_bytes": len(pictures.jpeg), "mime_type": "image/jpeg", "num_channels": 3}
    return {
        "_id": _object_id(frame.frame_id),
        "filepath": f"data/{frame.name}.jpg",
        "tags": [frame.split, str(frame.arm)],
        "metadata": {"_cls": "ImageMetadata", **image, "width": width, "height": height},
        "_media_type": "image",
        "_rand": draw(0, frame.frame_id),
        "teacher": _mask(frame, "teacher"),
        "device": _mask(frame, "device") if pictures.device is not None else None,
        "keypoints": _keypoints(frame, width, height),
        **told_of(frame),
    }


def _mask(frame: Picked, kind: str) -> dict[str, Any]:
    path = f"fields/{kind}/{frame.name}.png"
    return {"_id": _object_id(frame.frame_id, kind), "_cls": "Segmentation", "tags": [], "mask_path": path}


def _keypoints(frame: Picked, width: int, height: int) -> dict[str, Any]:
    person = {
        "_id": _object_id(frame.frame_id, "keypoints"),
        "_cls": "Keypoint",
        "attributes": {},
        "tags": [],
        "label": "person",
        "points": _points(frame.keypoints, width, height),
        "confidence": frame.keypoints[:, 2].tolist(),
    }
    return {"_cls": "Keypoints", "keypoints": [person]}


def _points(keypoints: NDArray[np.float64], width: int, height: int) -> list[list[Any]]:
    """In shares of the picture's width and height."""
    return [[x / width, y / height] if c > 0 else [NAN, NAN] for x, y, c in keypoints.tolist()]


def _metadata(choice: Choice) -> dict[str, Any]:
    person = {"255": "person"}
    bones = [list(pair) for pair in BONES]
    return {
        "version": VERSION,
        "media_type": "image",
        "tags": [],
        "info": {"jobs": list(choice.jobs), "recipes": list(choice.recipes)},
        "app_config": {"media_fields": ["filepath"], "grid_media_field": "filepath"},
        "classes": {},
        "default_classes": [],
        "mask_targets": {"teacher": person, "device": person},
        "default_mask_targets": {},
        "skeletons": {"keypoints": {"labels": list(NAMES), "edges": bones}},
        "frame_fields": [],
        "saved_views": [],
        "workspaces": [],
        "annotation_runs": {},
        "brain_methods": {},
        "evaluations": {},
        "runs": {},
    }


def _schema(measures: list[str]) -> list[dict[str, Any]]:
    return [
        _field("id", "ObjectIdField", db_field="_id"),
        _field("filepath", _TEXT),
        _list("tags", _TEXT),
        _embedded("metadata", "metadata.ImageMetadata", _image_fields()),
        _field("_media_type", _TEXT),
        _field("_rand", _REAL),
        _field("_dataset_id", "ObjectIdField"),
        _field("created_at", "DateTimeField", read_only=True),
        _field("last_modified_at", "DateTimeField", read_only=True),
        _embedded("teacher", "labels.Segmentation", _mask_fields()),
        _embedded("device", "labels.Segmentation", _mask_fields()),
        _embedded("keypoints", "labels.Keypoints", [_person_list()]),
        *(_field(name, kind) for name, kind in _OWN.items()),
        *(_field(name, _REAL) for name in measures),
    ]


def _image_fields() -> list[dict[str, Any]]:
    whole = ("size_bytes", "width", "height", "num_channels")
    return [_field("mime_type", _TEXT), *(_field(name, _WHOLE) for name in whole)]


def _mask_fields() -> list[dict[str, Any]]:
    return [
        _field("id", "ObjectIdField", db_field="_id"),
        _list("tags", _TEXT),
        _field("mask", "ArrayField"),
        _field("mask_path", _TEXT),
    ]


def _person_list() -> dict[str, Any]:
    people = _list("keypoints", "EmbeddedDocumentField")
    attributes = {**_field("attributes", "DictField"), "subfield": _FIELDS + "EmbeddedDocumentField"}
    attributes["embedded_doc_type"] = "fiftyone.core.labels.Attribute"
    people["embedded_doc_type"] = "fiftyone.core.labels.Keypoint"
    people["fields"] = [
        _field("id", "ObjectIdField", db_field="_id"),
        _list("tags", _TEXT),
        attributes,
        _field("label", _TEXT),
        _field("points", "KeypointsField"),
        _list("confidence", _REAL),
        _field("index", _WHOLE),
    ]
    return people


def _field(name: str, kind: str, db_field: str | None = None, read_only: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "ftype": _FIELDS + kind,
        "embedded_doc_type": None,
        "subfield": None,
        "fields": [],
        "db_field": db_field or name,
        "description": None,
        "info": None,
        "read_only": read_only,
        "created_at": None,
    }


def _list(name: str, kind: str) -> dict[str, Any]:
    return {**_field(name, "ListField"), "subfield": _FIELDS + kind}


def _embedded(name: str, document: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    kind = {"embedded_doc_type": f"fiftyone.core.{document}", "fields": fields}
    return {**_field(name, "EmbeddedDocumentField"), **kind}
