"""The teacher ``matterport``, with weights by hand that segment a painted figure."""

from pathlib import Path

import cv2
import numpy as np
import painted_person
import pytest
from matterport_painted import write_painted

from broker.errors import SettingsError
from broker.recipe import ModelSpec, WeightsRef
from workers.compute import Compute
from workers.downloads.files import file_sha256
from workers.errors import ImageFailed, ModelMismatch, OutOfMemory
from workers.masks.matterport.detections import Detections
from workers.masks.matterport.graph import BUILDER
from workers.masks.matterport.model import Matterport
from workers.masks.matterport.onnx_network import OnnxMaskRCNN
from workers.models import MASKS, installed, model_class, open_mask, takes_weights
from workers.onnx_runtime import OnnxModel
from workers.pose.geometry import mask_iou
from workers.weights import WeightsStore

SIZE = 256
ON_CPU = Compute(threads=2, providers=("cpu",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("painted")


@pytest.fixture(scope="module")
def painted(folder: Path) -> Path:
    return write_painted(folder / "painted.h5")


@pytest.fixture(scope="module")
def store(folder: Path) -> WeightsStore:
    return WeightsStore(folder / "weights")


def spec(path: Path, **options: str | int | float) -> ModelSpec:
    size, sha256 = path.stat().st_size, file_sha256(path)
    ref = WeightsRef(file=path.name, sha256=sha256, source=path.as_uri(), licence="MIT", size=size)
    default = Matterport.default_spec()
    chosen = {**default.options, "image_size": SIZE, **options}
    return default.model_copy(update={"weights": (ref,), "options": chosen})


@pytest.fixture(scope="module")
def teacher(painted: Path, store: WeightsStore) -> Matterport:
    loaded = Matterport(spec(painted), store, ON_CPU)
    loaded.load()
    return loaded


@pytest.mark.parametrize(
    ("width", "height", "arms", "least"),
    [
        (1280, 720, "down", 0.65),  # 16 x 9 cells of the pyramid hold the whole frame
        (1280, 720, "up", 0.65),
        (720, 1280, "down", 0.75),  # the figure fills an upright frame
        (320, 240, "down", 0.65),  # made larger
    ],
)
def test_the_painted_figure_is_one_person(
    teacher: Matterport, width: int, height: int, arms: str, least: float
) -> None:
    scale = 1.0 if width > height else 0.9
    picture = painted_person.draw(width, height, arms=arms, scale=scale)
    people = teacher.segment([picture], second_look=True)[0]
    assert len(people) == 1
    person = people[0]
    assert person.mask.shape == (height, width)
    assert person.mask.dtype == np.bool_
    assert mask_iou(person.mask, painted_person.silhouette(picture)) >= least
    assert person.score == pytest.approx(1 / (1 + 80 * np.exp(-10)), abs=1e-4)
    assert person.measures == {"box_height": height, "box_width": width}
    assert (person.side, person.stability) == (max(width, height), 1.0)


def test_an_empty_mask_is_no_person(teacher: Matterport) -> None:
    """The network reports one, with a score of 0.996; none of its pixels reaches one half."""
    assert teacher.segment([np.zeros((120, 160, 3), np.uint8)], False) == [[]]


def test_the_figure_is_followed(teacher: Matterport) -> None:
    pictures = [painted_person.draw(centre=(x, 360), scale=0.9) for x in (300, 980)]
    centres = []
    for people in teacher.segment(pictures, False):
        assert len(people) == 1
        centres.append(float(np.mean(np.nonzero(people[0].mask)[1])))
    assert centres == pytest.approx([300, 980], abs=30)


def test_frames_of_several_sizes_in_batches(painted: Path, store: WeightsStore, teacher: Matterport) -> None:
    pictures = [painted_person.draw(), np.zeros((90, 160, 3), np.uint8), painted_person.draw(480, 640)]
    batched = Matterport(spec(painted), store, Compute(threads=2, providers=("cpu",), batch=2))
    answers = batched.segment(pictures, False)
    assert batched.batch_size == 2
    assert [len(people) for people in answers] == [1, 0, 1]
    for picture, people in zip(pictures, answers, strict=True):
        alone = teacher.segment([picture], False)[0]
        assert [mask_iou(a.mask, b.mask) for a, b in zip(alone, people, strict=True)] == [1.0] * len(people)
    assert teacher.batch_size == 1, "on a CPU, where nothing is asked for"


def test_a_batch_that_is_too_large_shrinks(teacher: Matterport, monkeypatch: pytest.MonkeyPatch) -> None:
    network = teacher._network
    assert network is not None

    class Small:
        on_gpu = False

        def detect(self, images: np.ndarray, windows: np.ndarray) -> list[Detections]:
            if len(images) > 1:
                raise OutOfMemory("too many", "fewer")
            return network.detect(images, windows)

    monkeypatch.setattr(teacher, "_network", Small())
    monkeypatch.setattr(teacher._batches, "size", 4)
    answers = teacher.segment([painted_person.draw(320, 180)] * 3, False)
    assert [len(people) for people in answers] == [1, 1, 1]
    assert teacher.batch_size == 1


def test_one_bad_frame_is_that_frames_fault(teacher: Matterport) -> None:
    with pytest.raises(ImageFailed, match="5000 x 1 pixels"):
        teacher.segment([np.zeros((1, 5000, 3), np.uint8)], False)


def test_no_images_no_answers(teacher: Matterport) -> None:
    assert teacher.segment([], False) == []


class Three:
    """A network that answers three people and a dog, the smallest person the surest."""

    on_gpu = False

    def detect(self, images: np.ndarray, windows: np.ndarray) -> list[Detections]:
        sides = np.array([0.1, 0.5, 0.3, 0.4], np.float32)
        boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=1)
        ids, scores = np.array([1, 18, 1, 1]), np.array([0.99, 0.95, 0.9, 0.8], np.float32)
        return [Detections(boxes, ids, scores, np.ones((4, 28, 28), np.float32))] * len(images)


@pytest.mark.parametrize(("most", "sides"), [(20, [102, 77, 26]), (2, [77, 26]), (1, [26])])
def test_people_only_the_surest_and_of_those_the_largest_first(
    painted: Path, store: WeightsStore, most: int, sides: list[int]
) -> None:
    teacher = Matterport(spec(painted, max_people=most), store, ON_CPU)
    teacher._network = Three()
    people = teacher.segment([np.zeros((SIZE, SIZE, 3), np.uint8)], False)[0]
    assert [person.side for person in people] == pytest.approx(sides, abs=1)


def test_the_network_is_written_once_for_each_size_and_precision(
    painted: Path, store: WeightsStore, teacher: Matterport
) -> None:
    sha256 = file_sha256(painted)
    made = store.folder / f"{sha256}.matterport-person-fp32-{SIZE}-{BUILDER}.onnx"
    before = made.stat().st_mtime_ns
    again = Matterport(spec(painted), store, ON_CPU)
    again.load()
    again.load()
    assert made.stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def exported(painted: Path, folder: Path) -> Path:
    Matterport.export(painted, folder / "half.onnx", {"image_size": SIZE, "precision": "fp16"})
    return folder / "half.onnx"


def test_half_precision_draws_the_same_figure(
    painted: Path, store: WeightsStore, teacher: Matterport, exported: Path
) -> None:
    picture = painted_person.draw(640, 360)
    rough = Matterport(spec(painted, precision="fp16"), store, ON_CPU)
    rough._network = OnnxMaskRCNN(exported, 0.7, 0.3, ON_CPU, half=True)
    half, full = rough.segment([picture], False)[0], teacher.segment([picture], False)[0]
    assert len(half) == len(full) == 1
    assert mask_iou(half[0].mask, full[0].mask) > 0.97


def test_an_exported_file_runs_by_its_documentation(exported: Path) -> None:
    model = OnnxModel(exported, ON_CPU)
    assert set(model.inputs) == {"image", "window", "min_score", "nms_iou"}
    picture = cv2.resize(painted_person.draw(), (SIZE, 144))
    square = np.zeros((1, 3, SIZE, SIZE), np.float32)
    square[0, :, 56:200] = picture.transpose(2, 0, 1)
    feeds = {
        "image": square,
        "window": np.array([[56, 0, 200, SIZE]], np.float32),
        "min_score": np.array([0.7], np.float32),
        "nms_iou": np.array([0.3], np.float32),
    }
    boxes, scores = model.run(feeds, "boxes", "scores")
    np.testing.assert_allclose(boxes, [[56 / 255, 0, 199 / 255, 1]], atol=1e-5)
    assert scores.shape == (1,)


def test_it_is_found_by_name_and_says_where_its_weights_are(painted: Path, store: WeightsStore) -> None:
    assert "matterport" in installed(MASKS)
    chosen = model_class(MASKS, "matterport")
    assert chosen is Matterport
    assert takes_weights(chosen) is Matterport
    assert Matterport.card.official[0].file == "mask_rcnn_coco.h5"
    assert isinstance(open_mask(spec(painted), store, ON_CPU), Matterport)
    assert Matterport.check_weights(painted) == (
        "Mask R-CNN on ResNet-101 with 81 classes: 235 layers, 690 tensors, 64158584 numbers"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("runtime", "torch"), ("precision", "int8"), ("image_size", 500), ("image_size", 64),
        ("min_score", 0.0), ("nms_iou", 1.0), ("max_people", 0), ("max_people", 101), ("colour", "red"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_used_is_named(
    painted: Path, store: WeightsStore, name: str, value: str | int | float
) -> None:
    with pytest.raises(SettingsError, match=f"{name}.*{value}"):
        Matterport(spec(painted, **{name: value}), store, ON_CPU)


def test_without_weights_it_says_how_to_bring_them(store: WeightsStore) -> None:
    with pytest.raises(SettingsError, match="hardpose models add matterport"):
        Matterport(Matterport.default_spec(), store, ON_CPU).load()


def test_other_weights_leave_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "page.h5"
    path.write_bytes(b"<html>")
    store = WeightsStore(tmp_path / "weights")
    with pytest.raises(ModelMismatch, match=r"page\.h5|6 bytes"):
        Matterport(spec(path), store, ON_CPU).load()
    assert not list(store.folder.glob("*.onnx"))
