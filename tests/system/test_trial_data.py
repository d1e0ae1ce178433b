"""The whole system on clips with truth: right people kept, masks close to the truth, crowds refused."""

import json
from pathlib import Path
from statistics import fmean

import cv2
import pytest
from hardpose_process import TOGETHER, hardpose, only_job
from pycocotools.coco import COCO

from api.exit_codes import ExitCode
from broker.messages import Verdict
from tasks.iou import mask_iou

pytestmark = pytest.mark.system

SINGLE = ("rollerblade", "tennis", "swing")
FPS = 24
"""DAVIS 2016: frame i of the clip has mask i."""


@pytest.fixture(scope="module")
def out(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run; at a threshold of 1 every kept frame is in the data set."""
    folder = tmp_path_factory.mktemp("trial")
    links = [shared_data / "davis" / f"{name}.mp4" for name in (*SINGLE, "dance-twirl")]
    links.append(shared_data / "clips" / "mmaction2_demo_skeleton.mp4")
    ended = hardpose("run", *links, "--out", folder, "--threshold", "1.0", env=TOGETHER)
    assert ended.code == ExitCode.OK, ended.stderr
    return folder


def test_teacher_masks_are_close_to_the_truth(out: Path, shared_data: Path) -> None:
    coco = COCO(str(out / "dataset" / "annotations.json"))
    ious = []
    for image in coco.imgs.values():
        clip = Path(image["source"]).stem
        if clip not in SINGLE:
            continue
        number = round(image["time_ms"] * FPS / 1000)
        truth = cv2.imread(
            str(shared_data / "davis" / "masks" / clip / f"{number:05d}.png"), cv2.IMREAD_GRAYSCALE
        )
        (annotation,) = coco.imgToAnns[image["id"]]
        ious.append(mask_iou(coco.annToMask(annotation).astype(bool), truth > 0))
    assert len(ious) >= 3
    assert fmean(ious) >= 0.85


def test_several_people_are_refused(out: Path) -> None:
    kept = {
        Path(link.link).stem: link.funnel().check().of(Verdict.EASY, Verdict.HARD)
        for link in only_job(out / "state").links
    }
    assert kept["mmaction2_demo_skeleton"] == 0  # two men
    assert kept["dance-twirl"] <= 1  # a dancer in front of a crowd


def test_the_books_of_the_data_set_add_up(out: Path) -> None:
    books = json.loads((out / "dataset" / "funnel.json").read_text())
    assert books["examined"] == sum(books["verdicts"].values()) > 0
    rows = (out / "dataset" / "verdicts.csv").read_text().splitlines()
    assert len(rows) - 1 == books["examined"]
