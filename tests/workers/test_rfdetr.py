"""RF-DETR Seg on real ONNX files that see colours: red and green people, blue dogs."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rfdetr_file import Export

from broker.errors import SettingsError
from broker.recipe import ModelSpec, WeightsRef
from workers.compute import Compute
from workers.contracts import Image
from workers.errors import ImageFailed, ModelMismatch, WeightsDamaged
from workers.masks.rfdetr import MEAN, STD, RFDETRSeg, prepare
from workers.masks.rfdetr_decode import RFDETROptions, box_agreement, mask_cut, people, person_scores
from workers.masks.rfdetr_network import QueryOutputs
from workers.models import MASKS, model_class, takes_weights
from workers.onnx_graph import GraphWriter
from workers.pose.geometry import mask_iou
from workers.weights import WeightsStore

LOGITS, ONE_THREAD = Export(), Compute()
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture(*blobs: tuple[tuple[int, int, int], tuple[int, int, int, int]], size=(90, 160)) -> Image:
    """Black, with rectangles (colour, (x0, y0, x1, y1))."""
    image = np.zeros((*size, 3), np.uint8)
    for colour, (x0, y0, x1, y1) in blobs:
        image[y0:y1, x0:x1] = colour
    return image


def rectangle(image: Image, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(image.shape[:2], bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.fixture
def open_teacher(tmp_path: Path):
    """A function that writes a file, adds it to a store of its own, and gives the loaded teacher."""

    def make(export=LOGITS, compute=ONE_THREAD, **options) -> RFDETRSeg:
        path = export.write(tmp_path / "rfdetr-seg.onnx")
        data = path.read_bytes()
        ref = WeightsRef(
            file=path.name,
            sha256=hashlib.sha256(data).hexdigest(),
            source=path.as_uri(),
            licence="Apache-2.0",
            size=len(data),
        )
        spec = RFDETRSeg.default_spec()
        spec = spec.model_copy(update={"weights": (ref,), "options": {**spec.options, **options}})
        teacher = RFDETRSeg(spec, WeightsStore(tmp_path / "store"), compute)
        teacher.load()
        return teacher

    return make


def test_a_person_in_a_wide_frame_is_segmented_where_he_stands(open_teacher):
    image = picture((RED, (40, 18, 80, 72)))
    (found,) = open_teacher().segment([image], second_look=False)
    assert len(found) == 1
    assert found[0].mask.shape == (90, 160)
    assert found[0].mask.dtype == np.bool_
    assert mask_iou(found[0].mask, rectangle(image, 40, 18, 80, 72)) > 0.9
    assert found[0].score == pytest.approx(1 / (1 + np.exp(-5)), abs=1e-6)
    assert found[0].stability == 1.0
    assert found[0].measures["box_iou"] > 0.9


@pytest.mark.parametrize("size", [(160, 90), (64, 64), (33, 47), (270, 480)])
def test_every_shape_of_frame_gives_masks_of_its_shape(open_teacher, size):
    height, width = size
    box = (width // 4, height // 4, width * 3 // 4, height * 3 // 4)
    image = picture((RED, box), size=size)
    (found,) = open_teacher().segment([image], second_look=True)
    assert len(found) == 1
    assert found[0].mask.shape == size
    assert mask_iou(found[0].mask, rectangle(image, *box)) > 0.85


def test_nobody(open_teacher):
    assert open_teacher().segment([picture()], second_look=True) == [[]]


def test_two_people_the_larger_first_though_the_network_is_surer_of_the_smaller(open_teacher):
    image = picture((RED, (10, 10, 40, 60)), (GREEN, (80, 10, 140, 80)))
    (found,) = open_teacher().segment([image], second_look=False)
    assert len(found) == 2
    assert mask_iou(found[0].mask, rectangle(image, 80, 10, 140, 80)) > 0.9
    assert mask_iou(found[1].mask, rectangle(image, 10, 10, 40, 60)) > 0.85
    assert found[0].score < found[1].score


def test_what_is_rather_a_dog_is_no_person(open_teacher):
    image = picture((BLUE, (10, 10, 150, 80)))
    assert open_teacher().segment([image], second_look=False) == [[]]
    with_person = picture((BLUE, (10, 10, 60, 80)), (RED, (90, 20, 130, 70)))
    (found,) = open_teacher().segment([with_person], second_look=False)
    assert len(found) == 1
    assert mask_iou(found[0].mask, rectangle(image, 90, 20, 130, 70)) > 0.85


def test_a_second_query_on_the_same_person_is_not_a_second_person(open_teacher):
    image = picture((RED, (40, 18, 80, 72)))
    assert len(open_teacher().segment([image], False)[0]) == 1
    logits = np.full((2, 91), -7, np.float32)
    logits[:, 1] = (3, 2)
    masks = np.full((2, 10, 10), -5, np.float32)
    masks[0, :, :6], masks[1, :, 3:] = 5, 5  # overlap 3 of 10 columns
    outputs = QueryOutputs(np.full((1, 2, 4), 0.5, np.float32), logits[None], masks[None])
    assert len(people(outputs, 0, (10, 10), RFDETROptions(duplicate_iou=0.31))) == 2
    assert len(people(outputs, 0, (10, 10), RFDETROptions(duplicate_iou=0.29))) == 1


def test_the_surest_are_kept_when_there_are_too_many(open_teacher):
    image = picture((RED, (10, 10, 40, 60)), (GREEN, (80, 10, 140, 80)))
    (found,) = open_teacher(max_people=1).segment([image], False)
    assert len(found) == 1
    assert mask_iou(found[0].mask, rectangle(image, 10, 10, 40, 60)) > 0.85


def test_min_score_decides(open_teacher):
    image = picture((GREEN, (80, 10, 140, 80)))
    score = float(1 / (1 + np.exp(-4)))
    assert len(open_teacher(min_score=score - 0.001).segment([image], False)[0]) == 1
    assert open_teacher(min_score=score + 0.001).segment([image], False) == [[]]


def test_masks_of_probabilities_give_the_same_people_as_masks_of_logits(open_teacher):
    images = [picture((RED, (40, 18, 80, 72))), picture(), picture((GREEN, (5, 5, 155, 85)))]
    logits = open_teacher().segment(images, False)
    probabilities = open_teacher(Export(probabilities=True)).segment(images, False)
    assert [len(found) for found in logits] == [len(found) for found in probabilities] == [1, 0, 1]
    for a, b in ((logits[0][0], probabilities[0][0]), (logits[2][0], probabilities[2][0])):
        # The sigmoid bends the interpolation between two pixels, so the outline may move by a pixel.
        assert mask_iou(a.mask, b.mask) > 0.95


def test_a_higher_mask_threshold_gives_a_smaller_mask(open_teacher):
    image = picture((RED, (41, 19, 79, 71)))
    areas = [
        np.count_nonzero(open_teacher(mask_threshold=t).segment([image], False)[0][0].mask)
        for t in (0.05, 0.5, 0.95)
    ]
    assert areas[0] > areas[1] > areas[2] > 0


IMAGES = [
    picture((RED, (40, 18, 80, 72))),
    picture(size=(64, 48)),
    picture((GREEN, (10, 30, 60, 110)), size=(120, 80)),
    picture((RED, (10, 10, 40, 60)), (GREEN, (80, 10, 140, 80))),
    picture((BLUE, (10, 10, 150, 80))),
]


@pytest.mark.parametrize(
    ("export", "compute", "expected"),
    [
        (Export(batch=1), Compute(batch=4), 1),  # the file's batch wins
        (Export(batch=3), Compute(), 3),  # five images: one batch full, one padded
        (Export(batch="N"), Compute(), 1),  # open, on a CPU
        (Export(batch="N"), Compute(batch=4), 4),  # open, as asked
    ],
)
def test_every_batch_gives_the_same_people(open_teacher, export, compute, expected):
    teacher = open_teacher(export, replace(compute, providers=("cpu",)))
    assert teacher.batch_size == expected
    alone = [open_teacher().segment([image], False)[0] for image in IMAGES]
    together = teacher.segment(IMAGES, False)
    assert [len(found) for found in together] == [1, 0, 1, 2, 0]
    for one, other in zip(alone, together, strict=True):
        assert [p.score for p in one] == pytest.approx([p.score for p in other], abs=1e-6)
        assert all(np.array_equal(p.mask, q.mask) for p, q in zip(one, other, strict=True))


def test_outputs_of_other_names_are_found_by_their_shapes(open_teacher):
    teacher = open_teacher(Export(names=("a", "b", "c")))
    assert len(teacher.segment([IMAGES[0]], False)[0]) == 1


def test_the_file_says_what_it_is(tmp_path: Path):
    said = RFDETRSeg.check_weights(Export(side=312, batch="N").write(tmp_path / "n.onnx"))
    assert "RF-DETR Seg Nano: 312 x 312" in said
    assert "any batch" in said
    assert "5 queries, masks of 78 x 78" in said
    other = RFDETRSeg.check_weights(Export(batch=2).write(tmp_path / "o.onnx"))
    assert "size of its own: 64 x 64" in other
    assert "a batch of 2" in other


@pytest.mark.parametrize(
    ("export", "words"),
    [
        (Export(with_masks=False), "dets 1x5x4 float, labels 1x5x91 float"),  # RF-DETR for boxes
        (Export(classes=80), "80"),  # trained on other classes
        (Export(classes=80, names=("a", "b", "c")), "a 1x5x4 float, b 1x5x80 float"),
    ],
)
def test_another_network_is_refused_with_what_it_has(tmp_path: Path, export: Export, words: str):
    with pytest.raises(ModelMismatch, match="RF-DETR Seg") as refused:
        RFDETRSeg.check_weights(export.write(tmp_path / "x.onnx"))
    assert words in refused.value.cause
    assert not isinstance(refused.value, WeightsDamaged)


@pytest.mark.parametrize("damage", ["cut", "page", "empty"])
def test_a_damaged_file_is_called_that(tmp_path: Path, damage: str):
    whole = Export().write(tmp_path / "whole.onnx").read_bytes()
    bad = {"cut": whole[: len(whole) // 2], "page": b"<!DOCTYPE html><p>Not found", "empty": b""}[damage]
    path = tmp_path / "bad.onnx"
    path.write_bytes(bad)
    with pytest.raises(WeightsDamaged, match=f"{len(bad)} bytes"):
        RFDETRSeg.check_weights(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "fp16"}, "precision"),  # the file's own
        ({"min_score": 1.5}, "min_score"),
        ({"mask_threshold": 0.0}, "mask_threshold"),
        ({"max_people": 0}, "max_people"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_options_that_cannot_be_used_are_refused_by_name(tmp_path: Path, options, words):
    spec = ModelSpec(name="rfdetr-seg", version="x", options=options)
    with pytest.raises(SettingsError, match=words):
        RFDETRSeg(spec, WeightsStore(tmp_path), Compute())


def test_without_weights_it_says_how_to_bring_them(tmp_path: Path):
    teacher = RFDETRSeg(RFDETRSeg.default_spec(), WeightsStore(tmp_path), Compute())
    with pytest.raises(SettingsError, match="0 weights files") as refused:
        teacher.load()
    assert "hardpose models add rfdetr-seg" in refused.value.remedy


def test_it_is_installed_as_a_model_whose_weights_the_user_brings():
    chosen = model_class(MASKS, "rfdetr-seg")
    assert chosen is RFDETRSeg
    assert takes_weights(chosen) is not None
    assert RFDETRSeg.card.licence == "Apache-2.0"


def test_export_gives_the_same_bytes(tmp_path: Path):
    path = Export().write(tmp_path / "a.onnx")
    RFDETRSeg.export(path, tmp_path / "b.onnx", {})
    assert (tmp_path / "b.onnx").read_bytes() == path.read_bytes()


def test_the_input_is_the_normalised_rgb_picture():
    image = np.zeros((8, 4, 3), np.uint8)
    image[..., 0], image[..., 2] = 255, 51
    fed = prepare(image, 16)
    assert fed.shape == (3, 16, 16)
    assert fed.dtype == np.float32
    for channel, value in enumerate((1.0, 0.0, 0.2)):
        assert fed[channel] == pytest.approx((value - MEAN[channel]) / STD[channel], abs=1e-5)


@pytest.mark.parametrize("which", ["boxes", "logits", "masks"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_no_number_fails_the_image(which: str, value: float):
    sound = QueryOutputs(
        np.full((1, 2, 4), 0.5, np.float32),
        np.ones((1, 2, 91), np.float32),
        np.ones((1, 2, 8, 8), np.float32),
    )
    broken = getattr(sound, which).copy()
    broken.flat[-1] = value
    with pytest.raises(ImageFailed, match="not a number"):
        people(replace(sound, **{which: broken}), 0, (8, 8), RFDETROptions())


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3)])
def test_an_empty_frame_fails_alone(shape: tuple[int, int, int]):
    with pytest.raises(ImageFailed, match="pixels"):
        prepare(np.zeros(shape, np.uint8), 16)


@pytest.mark.parametrize("axes", [[0, 1, 2, 3], [1, 2, 3]])
def test_answers_without_sides_are_another_network(tmp_path: Path, axes: list[int]):
    graph, names = GraphWriter(), ("dets", "labels", "masks")
    flat = graph.op("ReduceMean", "input", axes=axes, keepdims=0)
    for name in names:
        graph.rename(flat, name)
    ports = dict.fromkeys(names, (np.float32, (1,) * (4 - len(axes))))
    graph.save(tmp_path / "flat.onnx", "flat", {"input": (np.float32, (1, 3, 16, 16))}, ports, {})
    with pytest.raises(ModelMismatch, match="trained on COCO gives boxes"):
        RFDETRSeg.check_weights(tmp_path / "flat.onnx")


@given(st.floats(-200, 200, width=32), st.floats(-200, 200, width=32))
def test_scores_are_probabilities_that_rise_with_the_logit(a: float, b: float):
    logits = np.full((2, 91), -300, np.float32)
    logits[:, 1] = (a, b)
    scores = person_scores(logits)
    assert np.all((scores >= 0) & (scores <= 1))
    assert (scores[0] <= scores[1]) == (a <= b) or scores[0] == scores[1]


@given(st.floats(0.01, 0.99))
def test_a_threshold_cuts_logits_where_it_cuts_their_probabilities(threshold: float):
    logits = np.linspace(-6, 6, 121, dtype=np.float32).reshape(1, 11, 11)
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    clear = np.abs(probabilities - threshold) > 1e-6
    by_logit = logits > mask_cut(logits, threshold)
    by_probability = probabilities > mask_cut(probabilities.astype(np.float32), threshold)
    assert np.array_equal(by_logit[clear], by_probability[clear])


def test_box_agreement_is_one_for_the_tight_box_and_less_for_a_larger_one():
    mask = np.zeros((100, 200), bool)
    mask[20:60, 50:150] = True
    assert box_agreement(np.array([0.5, 0.4, 0.5, 0.4], np.float32), mask) == pytest.approx(1.0, abs=1e-6)
    assert box_agreement(np.array([0.5, 0.4, 1.0, 0.4], np.float32), mask) == pytest.approx(0.5, abs=1e-6)
    assert box_agreement(np.array([0.1, 0.9, 0.1, 0.1], np.float32), mask) == 0.0
