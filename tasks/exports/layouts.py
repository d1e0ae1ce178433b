"""What each format looks like on disk, and how it is loaded: for the data card."""

from broker.exports import ExportFormat

LAYOUT = {
    ExportFormat.FOLDERS: "`SPLIT/ARM/images/*.jpg`, `masks/*.png` (the teacher's) and "
    "`device/*.png`, 0 or 255",
    ExportFormat.COCO: "`images/SPLIT/*.jpg`, `annotations/instances_SPLIT.json` (RLE, `iscrowd` 0; the "
    "device's mask is in `device_segmentation`)",
    ExportFormat.COCO_POLYGONS: "`images/SPLIT/*.jpg`, `annotations/instances_SPLIT.json` (polygons, holes "
    "cut in through bridges of no width; the device's mask is in `device_segmentation` as RLE)",
    ExportFormat.YOLO_SEG: "`data.yaml`, `images/SPLIT/*.jpg`, `labels/SPLIT/*.txt` (one row a person, its "
    "pieces and holes joined by bridges of no width); `control.txt` lists the control arm",
    ExportFormat.WEBDATASET: "`SPLIT-000000.tar` and so on: `jpg`, `mask.png` (the teacher's), `device.png`, "
    "`json`; samples stand by video and time, so shuffle",
    ExportFormat.FIFTYONE: "FiftyOne's own folder; `teacher` and `device` are segmentations, "
    "split and arm tags",
    ExportFormat.CSV: "`frames.csv`, a row a frame, no pictures",
    ExportFormat.PARQUET: "`frames.parquet`, a row a frame, no pictures",
}  # fmt: skip

LOADING = {
    ExportFormat.FOLDERS: "import cv2, pathlib\n"
    'pairs = [(cv2.imread(str(p)), cv2.imread(str(p.parents[1] / "masks" / (p.stem + ".png")), 0)) '
    'for p in pathlib.Path(".").glob("train/*/images/*.jpg")]',
    ExportFormat.COCO: "import supervision as sv\n"
    'data = sv.DetectionDataset.from_coco("images/train", "annotations/instances_train.json", '
    "force_masks=True)",
    ExportFormat.COCO_POLYGONS: "import supervision as sv\n"
    'data = sv.DetectionDataset.from_coco("images/train", "annotations/instances_train.json", '
    "force_masks=True)",
    ExportFormat.YOLO_SEG: "from ultralytics import YOLO\n"
    'YOLO("yolo11n-seg.pt").train(data="data.yaml")',
    ExportFormat.WEBDATASET: "import glob, webdataset as wds\n"
    'data = wds.WebDataset(sorted(glob.glob("train-*.tar")), shardshuffle=False).shuffle(1000).decode("rgb")',
    ExportFormat.FIFTYONE: "import fiftyone as fo\n"
    'data = fo.Dataset.from_dir(dataset_dir=".", dataset_type=fo.types.FiftyOneDataset)',
    ExportFormat.CSV: 'import pandas\nframes = pandas.read_csv("frames.csv")',
    ExportFormat.PARQUET: 'import pyarrow.parquet\nframes = pyarrow.parquet.read_table("frames.parquet")',
}  # fmt: skip
"""Two lines of Python each."""
