"""The assembly on maps of a trained network: a small one of OpenPose's architecture, on 65 photos."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import paf_reference
import pytest
from paf_scenes import part_count

from workers.pose.openpose.assembly import Assembled, find_people
from workers.pose.openpose.options import AssemblyOptions
from workers.pose.openpose.skeletons import COCO_18

EVERYBODY = AssemblyOptions(person_min_parts=0)
HEIGHT = 368
# COCO's 17 keypoints as numbers of COCO_18's parts, which has the neck besides.
COCO_17 = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]


@dataclass
class Photo:
    """The network's maps of one photo, and what is annotated."""

    heatmaps: np.ndarray
    pafs: np.ndarray
    size: tuple[int, int]
    scale: float
    annotated: int
    keypoints: list[np.ndarray]

    def people(self, options: AssemblyOptions = EVERYBODY) -> list[Assembled]:
        return find_people(self.heatmaps, self.pafs, COCO_18, options, self.size, 0.5 * self.scale)


def network_input(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The photo at a height of 368 from the top left corner, and pixels of the input for one of the photo."""
    height, width = image.shape[:2]
    net_width = 16 * round(min(656, HEIGHT * width / height) / 16)
    scale = min((net_width - 1) / (width - 1), (HEIGHT - 1) / (height - 1))
    matrix = np.array([[scale, 0, 0], [0, scale, 0]])
    return cv2.warpAffine(image, matrix, (net_width, HEIGHT), flags=cv2.INTER_CUBIC), scale


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> dict[str, Photo]:
    """All photos, by file name."""
    graph_file = shared_data / "models" / "tfpose_mobilenet_v2_small.pb"
    index = shared_data / "coco" / "index.csv"
    if not (graph_file.is_file() and index.is_file()):
        pytest.skip(f"no trained network or no photos in {shared_data}")
    tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow runs the small network").compat.v1
    definition = tensorflow.GraphDef()
    definition.ParseFromString(graph_file.read_bytes())
    graph = tensorflow.Graph()
    with graph.as_default():
        tensorflow.import_graph_def(definition, name="")
    keypoints = keypoints_by_file(shared_data / "coco" / "person_keypoints.json")
    found = {}
    with tensorflow.Session(graph=graph) as session, index.open() as rows:
        for row in csv.DictReader(rows):
            image, scale = network_input(cv2.imread(str(next((shared_data / "coco").rglob(row["file"])))))
            feed = {"image:0": image[None].astype(np.float32)}
            maps = session.run("Openpose/concat_stage7:0", feed)[0].transpose(2, 0, 1)
            maps = np.ascontiguousarray(maps, np.float32)
            size, count = (image.shape[1], HEIGHT), int(row["n_person_annots"])
            truth = keypoints.get(row["file"], [])
            found[row["file"]] = Photo(maps[:19], maps[19:], size, scale, count, truth)
    assert len(found) == 65
    return found


def keypoints_by_file(path: Path) -> dict[str, list[np.ndarray]]:
    """17 x 3 keypoints of every annotated person."""
    annotations = json.loads(path.read_text())
    names = {image["id"]: image["file_name"] for image in annotations["images"]}
    found: dict[str, list[np.ndarray]] = {}
    for one in annotations["annotations"]:
        found.setdefault(names[one["image_id"]], []).append(np.reshape(one["keypoints"], (17, 3)))
    return found


def test_equals_the_slow_reference(photos: dict[str, Photo]) -> None:
    people = 0
    for name, photo in photos.items():
        found = photo.people()
        expected = paf_reference.reference_people(photo.heatmaps, photo.pafs, EVERYBODY, 0.5 * photo.scale)
        assert len(found) == len(expected), name
        for ours, theirs in zip(found, expected, strict=True):
            people += 1
            assert set(np.flatnonzero(ours.points[:, 2])) == set(theirs.points), name
            assert ours.score == pytest.approx(theirs.score, abs=1e-5)
            for part, point in theirs.points.items():
                assert ours.points[part] == pytest.approx(point, abs=1e-3)
    assert people > 50


def test_counts_agree_with_the_annotations(photos: dict[str, Photo]) -> None:
    """The network misses small people; the assembly must neither invent nor split any."""
    counts = [(photo.annotated, len(photo.people(AssemblyOptions()))) for photo in photos.values()]
    nobody = [found for annotated, found in counts if annotated == 0]
    one = [found for annotated, found in counts if annotated == 1]
    assert (len(nobody), len(one)) == (20, 15)
    assert sum(found == 0 for found in nobody) >= 17
    assert sum(found == 1 for found in one) >= 7
    assert max(one) == 1, "one person was split into two"


def test_parts_lie_on_the_annotated_keypoints(photos: dict[str, Photo]) -> None:
    """Median distance, in shares of the person's height, over single people of whom much is seen."""
    distances = []
    for photo in photos.values():
        people = photo.people(AssemblyOptions())
        if photo.annotated != 1 or len(people) != 1 or part_count(people[0]) < 10:
            continue
        truth, points = photo.keypoints[0], people[0].points[COCO_17]
        both = (truth[:, 2] > 0) & (points[:, 2] > 0)
        assert both.sum() >= 5
        errors = np.linalg.norm(points[both, :2] / photo.scale - truth[both, :2], axis=1)
        distances.append(float(np.median(errors) / np.ptp(truth[truth[:, 2] > 0, 1])))
    assert len(distances) >= 4
    assert np.median(distances) < 0.04 and max(distances) < 0.15
