"""Exports as trainers read them: each format through a reader that is not ours."""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet
import pytest
import supervision
import webdataset
from dataset_jobs import HEIGHT, WIDTH, contents, mask
from export_books import book_samples, open_books
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from broker.artifacts import Artifacts
from broker.catalog import Catalog
from broker.exports import ExportFormat, ExportSpec, Split
from tasks.exports.choice import Choice, choose
from tasks.exports.polygons import fidelity, filled_fidelity, joined, pixel_rings, rings
from tasks.exports.write import Written, write_export

Books = tuple[Catalog, Artifacts]
THIRDS = Split(train=0.4, val=0.3, test=0.3)
WITH_PICTURES = [
    f for f in ExportFormat if f not in (ExportFormat.DATASET, ExportFormat.CSV, ExportFormat.PARQUET)
]


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """Six videos, 18 hard frames, 12 easy ones and 6 doubtful ones."""
    catalog, store = open_books(tmp_path_factory.mktemp("books"))
    book_samples(catalog, store, videos=6)
    return catalog, store


@pytest.fixture(scope="module")
def export(books: Books, tmp_path_factory: pytest.TempPathFactory) -> Callable[[ExportFormat], Written]:
    """Writes a format once for the module: the hard frames, and four others as control arm."""
    made: dict[ExportFormat, Written] = {}

    def write(form: ExportFormat) -> Written:
        if form not in made:
            made[form] = write_export(chosen(books, form), books[1], tmp_path_factory.mktemp("out") / form)
        return made[form]

    return write


def chosen(books: Books, form: ExportFormat) -> Choice:
    spec = ExportSpec(format=form, control=4, split=THIRDS)
    return choose(books[0].frames.each, books[0].exports.jobs_of, spec)


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


Make = Callable[[ExportFormat], Written]
Truth = dict[str, tuple[np.ndarray, np.ndarray, str, str]]


@pytest.fixture(scope="module")
def truth(export: Make) -> Truth:
    """Teacher's mask, device's mask, split and arm of each frame, from the plain folders."""
    folder = export(ExportFormat.FOLDERS).folder
    found = {}
    for path in sorted(folder.glob("*/*/masks/*.png")):
        split, arm = path.parts[-4:-2]
        device = read(path.parents[1] / "device" / path.name)
        assert (path.parents[1] / "images" / f"{path.stem}.jpg").is_file()
        found[path.stem] = (read(path) > 0, device > 0, split, arm)
    assert len(found) == 22
    assert Counter(arm for *_, arm in found.values()) == {"hard": 18, "control": 4}
    return found


@pytest.mark.parametrize("form", [f for f in ExportFormat if f != ExportFormat.DATASET])
def test_the_same_frames_give_the_same_bytes(
    books: Books, export: Make, tmp_path: Path, form: ExportFormat
) -> None:
    once = contents(export(form).folder)
    again = contents(write_export(chosen(books, form), books[1], tmp_path / "again").folder)
    assert len(once) > 3
    assert once == again
    card = once["README.md"].decode()
    assert "CC BY 4.0" in card and "https://example.org/watch?v=v0" in card and "a" * 64 in card
    record = json.loads(once["export.json"])
    assert record["counts"]["control"] == 4
    assert (record["jobs"], len(record["recipes"])) == (["job-1"], 1)
    sums = dict(reversed(line.split("  ")) for line in once["SHA256SUMS"].decode().splitlines())
    others = {name: data for name, data in once.items() if name != "SHA256SUMS"}
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in others.items()}


@pytest.mark.parametrize("form", [ExportFormat.COCO, ExportFormat.COCO_POLYGONS])
def test_coco(export: Make, truth: Truth, form: ExportFormat) -> None:
    folder = export(form).folder
    seen = 0
    for path in sorted((folder / "annotations").iterdir()):
        split = path.stem.removeprefix("instances_")
        data = COCO(str(path))
        through = supervision.DetectionDataset.from_coco(
            str(folder / "images" / split), str(path), force_masks=True
        )
        drawn = {Path(name).stem: found for name, _, found in through}
        assert len(data.anns) == len(data.imgs) == len(drawn) > 0
        for annotation in data.anns.values():
            image = data.imgs[annotation["image_id"]]
            name = Path(image["file_name"]).stem
            teacher, device, its_split, arm = truth[name]
            assert (image["split"], image["arm"], image["pose_class"]) == (its_split, arm, "bent")
            assert (split, annotation["iscrowd"], annotation["num_keypoints"]) == (its_split, 0, 17)
            mine = data.annToMask(annotation).astype(bool)
            rle = form == ExportFormat.COCO
            assert iou(mine, teacher) >= (1.0 if rle else 0.99)
            # supervision rounds vertices: its masks are up to a pixel wider, at right and below
            assert iou(drawn[name].mask[0], teacher) >= (1.0 if rle else 0.9)
            assert np.array_equal(
                data.annToMask({**annotation, "segmentation": annotation["device_segmentation"]}), device
            )
            seen += 1
    assert seen == len(truth)


def test_yolo(export: Make, truth: Truth) -> None:
    folder = export(ExportFormat.YOLO_SEG).folder
    assert "path:" not in (folder / "data.yaml").read_text()
    seen = 0
    for split in ("train", "val", "test"):
        labels, images = folder / "labels" / split, folder / "images" / split
        data = supervision.DetectionDataset.from_yolo(
            str(images), str(labels), str(folder / "data.yaml"), force_masks=True
        )
        assert data.classes == ["person"]
        for name, _, found in data:
            teacher, _, its_split, _ = truth[Path(name).stem]
            assert (its_split, len(found)) == (split, 1)
            assert iou(found.mask[0], teacher) >= 0.94  # 12,000 pixels, of which the bridge takes up to 40
            seen += 1
    assert seen == len(truth)
    control = {Path(line).stem for line in (folder / "control.txt").read_text().splitlines()}
    assert control == {name for name, (*_, arm) in truth.items() if arm == "control"}


def test_webdataset(export: Make, truth: Truth) -> None:
    shards = sorted(str(path) for path in export(ExportFormat.WEBDATASET).folder.glob("*.tar"))
    assert [Path(s).name for s in shards] == ["test-000000.tar", "train-000000.tar", "val-000000.tar"]
    names = []
    for sample in webdataset.WebDataset(shards, shardshuffle=False).decode():
        teacher, device, split, arm = truth[sample["__key__"]]
        told = sample["json"]
        assert Path(sample["__url__"]).name.startswith(split)
        assert (told["split"], told["arm"], told["pose_class"], told["doubt"]) == (split, arm, "bent", 0.25)
        assert (told["width"], told["height"], len(told["keypoints_body_25"])) == (WIDTH, HEIGHT, 25)
        assert told["measures"]["keypoints_outside"] == 0.3
        for key, mask_of in (("mask.png", teacher), ("device.png", device)):
            pixels = cv2.imdecode(np.frombuffer(sample[key], np.uint8), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(pixels > 0, mask_of)
        assert cv2.imdecode(np.frombuffer(sample["jpg"], np.uint8), cv2.IMREAD_COLOR).shape == (
            HEIGHT,
            WIDTH,
            3,
        )
        names.append(sample["__key__"])
    assert sorted(names) == sorted(truth)


def test_tables(export: Make, truth: Truth) -> None:
    table = pyarrow.parquet.read_table(export(ExportFormat.PARQUET).folder / "frames.parquet")
    typed = table.to_pylist()
    text = (export(ExportFormat.CSV).folder / "frames.csv").read_text()
    plain = list(csv.DictReader(io.StringIO(text)))
    assert len(typed) == len(plain) == len(truth)
    assert list(plain[0]) == table.column_names
    for one, other in zip(typed, plain, strict=True):
        *_, split, arm = truth[one["image"].removesuffix(".jpg")]
        assert (one["split"], one["arm"], one["review"], one["pose_class"]) == (split, arm, "open", "bent")
        assert (one["time_ms"], one["iou"]) == (int(other["time_ms"]), float(other["iou"]))
        assert isinstance(one["sharpness"], float)
        assert one["mask_sha256"] == other["mask_sha256"] == "b" * 64


@pytest.mark.parametrize(
    "form",
    [
        ExportFormat.FOLDERS,
        ExportFormat.COCO,
        ExportFormat.COCO_POLYGONS,
        ExportFormat.WEBDATASET,
        ExportFormat.PARQUET,
    ],
)
def test_the_two_lines_of_the_data_card_load_it(
    export: Make, truth: Truth, form: ExportFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = export(form)
    card = (written.folder / "README.md").read_text()
    lines = card.partition("```python\n")[2].partition("```")[0]
    assert len(lines.splitlines()) == 2
    monkeypatch.chdir(written.folder)
    found: dict[str, Any] = {}
    exec(lines, found)
    loaded = found.get("pairs", found.get("data", found.get("frames")))
    if form == ExportFormat.PARQUET:
        assert loaded.num_rows == len(truth)
    else:
        assert sum(1 for _ in loaded) == written.counts["train"] > 0


FIFTYONE = """
import json, math, sys
import fiftyone as fo
data = fo.Dataset.from_dir(dataset_dir=sys.argv[1], dataset_type=fo.types.FiftyOneDataset)
frames = {}
for sample in data:
    masks = [int((label.get_mask() > 0).sum()) for label in (sample.teacher, sample.device)]
    told = [sample.measure_keypoints_outside, sample.metadata.width, sample.pose_class]
    points = [not math.isnan(x) for x, _ in sample.keypoints.keypoints[0].points]
    frames[sample.video + str(sample.time_ms)] = [sorted(sample.tags), *masks, *told, points]
report = {"frames": frames, "low": len(data.match(fo.ViewField("iou") < 0.3))}
report |= {"tags": data.count_sample_tags(), "targets": data.mask_targets["teacher"]}
report["bones"] = len(data.skeletons["keypoints"].edges)
data.delete()
print("REPORT" + json.dumps(report))
"""


def test_fiftyone(export: Make, truth: Truth, tmp_path: Path) -> None:
    python = os.environ.get("HARDPOSE_TEST_FIFTYONE_PYTHON", sys.executable)
    environment = {
        **os.environ,
        "FIFTYONE_DO_NOT_TRACK": "true",
        "FIFTYONE_DATABASE_DIR": str(tmp_path / "db"),
    }
    found = subprocess.run([python, "-c", "import fiftyone"], capture_output=True, text=True, env=environment)
    if "No module named 'fiftyone'" in found.stderr:
        pytest.skip(
            "fiftyone is not installed; name an interpreter that has it: HARDPOSE_TEST_FIFTYONE_PYTHON"
        )
    folder = str(export(ExportFormat.FIFTYONE).folder)
    done = subprocess.run([python, "-c", FIFTYONE, folder], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.partition("REPORT")[2])
    assert len(report["frames"]) == len(truth)
    for name, (teacher, device, split, arm) in truth.items():
        slug, _, time = name.partition("_")
        tags, ours, devices, outside, width, pose, points = report["frames"][slug.replace("-", ":") + time]
        assert (tags, ours, devices) == (sorted([split, arm]), teacher.sum(), device.sum())
        assert (outside, points, width, pose) == (0.3, [True] * 24 + [False], WIDTH, "bent")
    assert (report["tags"]["control"], 0 < report["low"] <= 18) == (4, True)
    assert (report["targets"], report["bones"]) == ({"255": "person"}, 24)


@pytest.mark.parametrize("form", WITH_PICTURES)
def test_an_export_of_nothing_is_whole(books: Books, tmp_path: Path, form: ExportFormat) -> None:
    spec = ExportSpec(format=form, frames={"videos": ("youtube:none",)})  # type: ignore[arg-type]
    choice = choose(books[0].frames.each, books[0].exports.jobs_of, spec)
    written = write_export(choice, books[1], tmp_path / form)
    assert sum(written.counts.values()) == 0
    assert "0 frames of 0 videos" in (written.folder / "README.md").read_text()


def person(seed: int) -> np.ndarray:
    """A body of limbs with a hole and, apart from it, a hand: 1280 x 720."""
    draw = np.random.default_rng(seed)
    canvas = np.zeros((720, 1280), np.uint8)
    x, y = (int(n) for n in (draw.integers(300, 900), draw.integers(200, 500)))
    cv2.ellipse(canvas, (x, y), (40, 90), float(draw.uniform(0, 180)), 0, 360, 1, -1)
    for _ in range(6):
        a, b = (int(n) for n in draw.integers(-150, 150, 2))
        cv2.line(canvas, (x, y), (x + a, y + b), 1, int(draw.integers(8, 26)))
    cv2.circle(canvas, (x, y), 12, 0, -1)
    cv2.circle(canvas, (x + 190, y - 150), 15, 1, -1)
    return canvas.astype(bool)


@pytest.mark.parametrize("seed", range(12))
def test_polygons_meet_the_masks_of_people(seed: int) -> None:
    truth = person(seed)
    pieces = rings(truth)
    assert len(pieces) >= 2
    assert min(fidelity(truth, pieces), fidelity(truth, [joined(pieces)])) > 0.99
    row = joined(pixel_rings(truth))
    assert filled_fidelity(truth, row) > 0.98  # the bridges are one pixel wide
    rounded = cv2.fillPoly(np.zeros(truth.shape, np.uint8), [np.round(row).astype(np.int32)], (1,))
    assert iou(rounded > 0, truth) > 0.98


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_polygons_of_any_mask_keep_its_pieces_inside_the_frame(seed: int, height: int, width: int) -> None:
    noise = np.random.default_rng(seed).random((height, width)) < 0.5
    pieces = rings(noise)
    count = cv2.connectedComponents(noise.astype(np.uint8), connectivity=8)[0] - 1
    assert len(pieces) == count
    for ring in pieces:
        assert len(ring) >= 3
        assert ring.min() >= 0 and (ring <= (width, height)).all()
    assert rings(np.zeros((height, width), bool)) == []
    assert fidelity(mask(seed % 99), rings(mask(seed % 99))) >= 0.98
