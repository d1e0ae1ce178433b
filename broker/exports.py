"""Exports: which frames, in which format, and what became of the order."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from broker.frame_views import FrameFilter
from broker.messages import Failure, Verdict
from broker.recipe import MESSAGE_VERSION, Frozen, Version
from broker.views import State


class ExportFormat(StrEnum):
    """What trainers read."""

    DATASET = "dataset"
    """The folder that `hardpose run` leaves: images, masks, COCO, provenance, funnel, report. One job."""
    FOLDERS = "folders"
    """Images and masks (teacher's and device's) in folders, by split."""
    COCO = "coco"
    """COCO instances with RLE masks (``iscrowd`` 0), by split."""
    COCO_POLYGONS = "coco-polygons"
    YOLO_SEG = "yolo-seg"
    """Ultralytics' segmentation folder: ``data.yaml``, ``images/``, ``labels/``."""
    WEBDATASET = "webdataset"
    """Tar shards, by split."""
    FIFTYONE = "fiftyone"
    """A folder that ``fo.Dataset.from_dir(..., dataset_type=fo.types.FiftyOneDataset)`` loads."""
    CSV = "csv"
    """The provenance alone, a row a frame."""
    PARQUET = "parquet"
    """The same, typed."""


class Split(Frozen):
    """Shares of train, validation and test, by video: no video is in two of them."""

    train: float = Field(1.0, ge=0, le=1)
    val: float = Field(0.0, ge=0, le=1)
    test: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError(f"the shares {self.train}, {self.val} and {self.test} do not add up to 1")
        return self


class ExportSpec(Frozen):
    """An order for an export. The same spec on the same books gives the same bytes."""

    version: Version = MESSAGE_VERSION
    format: ExportFormat = ExportFormat.COCO
    frames: FrameFilter = FrameFilter(verdicts=(Verdict.HARD,))
    """Frames that repeat another over all videos are left out. Rejected ones go in only if asked for by name
    (``reviews``)."""
    control: int = Field(0, ge=0, le=1_000_000)
    """So many kept frames that are not among them, drawn at random, are added and marked as control arm."""
    split: Split = Split()
    seed: int = Field(0, ge=0, lt=2**31)
    """Of the control arm's and of the split's draw."""

    @model_validator(mode="after")
    def _dataset_is_of_one_job(self) -> Self:
        if self.format != ExportFormat.DATASET:
            return self
        plain = FrameFilter(jobs=self.frames.jobs, verdicts=(Verdict.HARD,))
        if len(self.frames.jobs) != 1 or self.frames != plain or self.control or self.split != Split():
            raise ValueError(
                "the format dataset is the hard frames of one job: name it in frames.jobs, no more"
            )
        return self


class ExportView(Frozen):
    """An export as the books know it."""

    id: str
    created_at: str
    updated_at: str
    requested_by: str
    spec: ExportSpec
    state: State
    failure: Failure | None = None
    artifact: str | None = None
    """Key of its zip file in the artifact store."""
    size_bytes: int | None = None
    sha256: str | None = None
    counts: dict[str, int] = Field(default_factory=dict)
    """Frames by split (``train``, ``val``, ``test``), and ``control``, ``left_out``, ``videos``."""
