"""The steps between the networks of Mask R-CNN, each as a small ONNX file, against loops over numbers."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from workers.compute import Compute
from workers.masks.matterport.anchors import anchors
from workers.masks.matterport.architecture import MAX_DETECTIONS, PROPOSALS
from workers.masks.matterport.graph_detections import write_detections
from workers.masks.matterport.graph_pool import FeaturePool
from workers.masks.matterport.graph_proposals import write_proposals
from workers.onnx_graph import GraphWriter
from workers.onnx_runtime import OnnxModel

SIZE = 128
Ports = dict[str, tuple[str, tuple[int | str, ...]]]


def run(
    path: Path, write: Callable[[GraphWriter], list[str]], inputs: Ports, outputs: Ports,
    feeds: dict[str, np.ndarray],
) -> list[np.ndarray]:  # fmt: skip
    graph = GraphWriter()
    for value, name in zip(write(graph), outputs, strict=True):
        graph.rename(value, name)
    graph.save(path / "part.onnx", "part", inputs, outputs, {})
    return OnnxModel(path / "part.onnx", Compute(providers=("cpu",))).run(feeds, *outputs)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    shared = max(sides[0], 0.0) * max(sides[1], 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared) if sum(areas) > shared else 0.0


def greedy(boxes: np.ndarray, order: list[int], threshold: float, most: int) -> list[int]:
    kept: list[int] = []
    for index in order:
        if len(kept) < most and all(iou(boxes[index], boxes[k]) <= threshold for k in kept):
            kept.append(index)
    return kept


def test_the_same_calls_write_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        graph = GraphWriter()
        graph.rename(write_proposals(graph, "objects", "deltas", SIZE), "rois")
        count = len(anchors(SIZE))
        inputs = {"objects": ("float32", ("N", count)), "deltas": ("float32", ("N", count, 4))}
        notes = {"source": "a.h5", "licence": "MIT"}
        graph.save(tmp_path / "x.onnx", "x", inputs, {"rois": ("float32", ("N", PROPOSALS, 4))}, notes)
        written.append((tmp_path / "x.onnx").read_bytes())
    assert len(written[0]) > 10_000
    assert written[0] == written[1]


# --- proposals -------------------------------------------------------------------------------


def moved(box: np.ndarray, delta: np.ndarray) -> list[float]:
    dy, dx, dh, dw = delta * (0.1, 0.1, 0.2, 0.2)
    height, width = box[2] - box[0], box[3] - box[1]
    y, x = box[0] + height / 2 + dy * height, box[1] + width / 2 + dx * width
    height, width = height * math.exp(dh), width * math.exp(dw)
    sides = y - height / 2, x - width / 2, y + height / 2, x + width / 2
    return [min(max(side, 0.0), 1.0) for side in sides]


def expected_proposals(objects: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    table = anchors(SIZE).astype(np.float64)
    boxes = np.array([moved(box, delta) for box, delta in zip(table, deltas, strict=True)])
    kept = greedy(boxes, list(np.argsort(-objects)), 0.7, PROPOSALS)
    padded = np.zeros((PROPOSALS, 4))
    padded[: len(kept)] = boxes[kept]
    return padded


def test_proposals_of_a_batch(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    count = len(anchors(SIZE))
    objects = generator.permuted(np.tile(np.linspace(0, 1, count, dtype=np.float32), (3, 1)), axis=1)
    # The first image's boxes all grow large, so few remain; the second's, less so; the third's hardly.
    growth = np.array([9, 6, 4], np.float32)[:, None, None] * np.array([0, 0, 1, 1], np.float32)
    deltas = generator.normal(0, 2, (3, count, 4)).astype(np.float32) + growth
    found = run(
        tmp_path,
        lambda graph: [write_proposals(graph, "objects", "deltas", SIZE)],
        {"objects": ("float32", ("N", count)), "deltas": ("float32", ("N", count, 4))},
        {"rois": ("float32", ("N", PROPOSALS, 4))},
        {"objects": objects, "deltas": deltas},
    )[0]
    expected = np.stack([expected_proposals(*pair) for pair in zip(objects, deltas, strict=True)])
    counts = (expected != 0).any(axis=2).sum(axis=1)
    assert counts[0] < counts[1] < counts[2], counts
    assert counts[0] > 1, "the images have to end in different amounts of padding"
    assert counts[1] < PROPOSALS
    np.testing.assert_allclose(found, expected, atol=1e-5)


# --- pooling ---------------------------------------------------------------------------------


def crop_and_resize(features: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """TensorFlow's ``crop_and_resize`` as documented: single bilinear samples, the first and the last on
    the box's edges; C x H x W -> C x side x side.
    """
    rows, columns = features.shape[1:]
    out = np.zeros((len(features), side, side))
    for i in range(side):
        for j in range(side):
            y = (box[0] + i * (box[2] - box[0]) / (side - 1)) * (rows - 1)
            x = (box[1] + j * (box[3] - box[1]) / (side - 1)) * (columns - 1)
            y0, x0 = min(math.floor(y), rows - 1), min(math.floor(x), columns - 1)
            y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            a, b = y - y0, x - x0
            top = (1 - b) * features[:, y0, x0] + b * features[:, y0, x1]
            bottom = (1 - b) * features[:, y1, x0] + b * features[:, y1, x1]
            out[:, i, j] = (1 - a) * top + a * bottom
    return out


def level_of(box: np.ndarray, size: int) -> int:
    side = math.sqrt((box[2] - box[0]) * (box[3] - box[1])) * size
    return min(5, max(2, 4 + round(math.log2(side / 224)))) if side else 2


@pytest.mark.parametrize("side", [7, 14])
def test_pooling_is_tensorflows_crop_and_resize(tmp_path: Path, side: int) -> None:
    size = 512
    generator = np.random.default_rng(6)
    levels = [generator.random((2, 3, size >> k, size >> k)).astype(np.float32) for k in (2, 3, 4, 5)]
    corner, spans = generator.random((40, 2)), np.exp(generator.uniform(-4.5, 0, (40, 2)))
    boxes = np.concatenate([corner * (1 - spans), corner * (1 - spans) + spans], axis=1)
    boxes[:3] = [[0, 0, 1, 1], [0, 0, 0, 0], [0.5, 0.999, 0.501, 1]]  # everything, nothing, a sliver
    boxes, image = boxes.astype(np.float32), generator.integers(0, 2, 40)
    given = boxes.copy()
    given[1] = np.nan  # what has overflowed is found elsewhere; here it must not lead out of the table
    wanted = [level_of(box, size) for box in boxes.astype(np.float64)]
    assert set(wanted) == {2, 3, 4, 5}
    names = ["p2", "p3", "p4", "p5"]
    inputs: Ports = {
        name: ("float32", ("N", 3, size >> k, size >> k)) for k, name in enumerate(names, start=2)
    }
    found = run(
        tmp_path,
        lambda graph: [FeaturePool(graph, names, size).under("boxes", "image", side)],
        {**inputs, "boxes": ("float32", ("D", 4)), "image": ("int64", ("D",))},
        {"pooled": ("float32", ("D", side, side, 3))},
        {**dict(zip(names, levels, strict=True)), "boxes": given, "image": image},
    )[0]
    rows = zip(wanted, image, boxes.astype(np.float64), strict=True)
    expected = [crop_and_resize(levels[level - 2][of], box, side) for level, of, box in rows]
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), expected, atol=2e-4)


# --- detections ------------------------------------------------------------------------------


def detect(path: Path, wanted: list[int], feeds: dict[str, np.ndarray]) -> list[tuple[int, int, float]]:
    """(image, place, score) of each detection."""
    scores, image, place = run(
        path,
        lambda graph: list(write_detections(graph, "class_ids", "scores", "boxes", wanted)),
        {
            "class_ids": ("int64", ("N", PROPOSALS)), "scores": ("float32", ("N", PROPOSALS)),
            "boxes": ("float32", ("N", PROPOSALS, 4)), "min_score": ("float32", (1,)),
            "nms_iou": ("float32", (1,)),
        },
        {"found": ("float32", ("D",)), "image": ("int64", ("D",)), "place": ("int64", ("D",))},
        feeds,
    )  # fmt: skip
    return list(zip(image.tolist(), place.tolist(), scores.tolist(), strict=True))


def some_boxes(images: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    corner = generator.random((images, PROPOSALS, 2)) * 0.8
    boxes = np.concatenate([corner, corner + generator.uniform(0.02, 0.2, corner.shape)], axis=2)
    boxes[:, 900:] = 0  # padding
    scores = np.tile(np.linspace(0.1, 0.99, PROPOSALS, dtype=np.float32), (images, 1))
    return {
        "class_ids": generator.integers(0, 4, (images, PROPOSALS)),
        "scores": generator.permuted(scores, axis=1),
        "boxes": boxes.astype(np.float32),
        "min_score": np.array([0.7], np.float32),
        "nms_iou": np.array([0.3], np.float32),
    }


@pytest.mark.parametrize("wanted", [[1], [1, 2, 3]])
def test_detections_of_a_batch(tmp_path: Path, wanted: list[int]) -> None:
    feeds = some_boxes(3)
    feeds["scores"][1] *= 0.5  # nothing in the second image is sure enough
    expected = []
    for image in range(3):
        kept: list[int] = []
        for kind in wanted:
            own = (feeds["class_ids"][image] == kind) & (feeds["scores"][image] >= 0.7)
            own &= np.arange(PROPOSALS) < 900
            order = sorted(np.flatnonzero(own), key=lambda i: -feeds["scores"][image, i])
            kept += greedy(feeds["boxes"][image].astype(np.float64), order, 0.3, MAX_DETECTIONS)
        best = sorted(kept, key=lambda i: -feeds["scores"][image, i])[:MAX_DETECTIONS]
        expected += [(image, place, float(feeds["scores"][image, place])) for place in best]
    assert {image for image, _, _ in expected} == {0, 2}
    if len(wanted) == 3:
        assert len(expected) == 200, "the limit of 100 has to be reached"
    assert detect(tmp_path, wanted, feeds) == expected


def test_no_detection_at_all(tmp_path: Path) -> None:
    assert detect(tmp_path, [1], {**some_boxes(2), "min_score": np.array([0.995], np.float32)}) == []


def test_a_score_on_the_threshold_counts(tmp_path: Path) -> None:
    feeds = some_boxes(1)
    feeds["class_ids"][:] = 0
    feeds["class_ids"][0, 17], feeds["scores"][0, 17] = 1, 0.7
    assert detect(tmp_path, [1], feeds) == [(0, 17, pytest.approx(0.7))]
