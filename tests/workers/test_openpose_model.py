"""OpenPose's models from a caffemodel to people: on painted weights, which find a painted figure."""

import hashlib
import logging
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import openpose_weights
import paf_scenes
import painted_person
import pytest
from make_video import write_pictures

from broker.errors import SettingsError
from broker.recipe import ModelSpec, WeightsRef
from workers.compute import Compute
from workers.contracts import Image, Person
from workers.errors import ModelMismatch
from workers.options import with_options
from workers.pose.body25 import NAMES
from workers.pose.openpose.assembly import find_people
from workers.pose.openpose.model import OpenPose, OpenPoseBody25, OpenPoseCoco18
from workers.pose.openpose.options import AssemblyOptions
from workers.pose.openpose.preprocess import prepare
from workers.pose.openpose.skeletons import BODY_25
from workers.weights import WeightsStore

HEIGHT = 288
"""Of the network's input: half the work of the default, 368, which the system tests run."""
WIDE = 12.0
"""A point may be this many pixels of the network's input from the truth: one and a half cells."""


def spec_of(caffemodel: Path, **options: str | int | float) -> ModelSpec:
    data = caffemodel.read_bytes()
    ref = WeightsRef(
        file=caffemodel.name,
        sha256=hashlib.sha256(data).hexdigest(),
        source=caffemodel.as_uri(),
        licence="none",
        size=len(data),
    )
    spec = OpenPoseBody25.default_spec().model_copy(update={"weights": (ref,), "version": "painted"})
    return with_options(spec, options)


@pytest.fixture(scope="module")
def caffemodel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return openpose_weights.write_painted_body25(tmp_path_factory.mktemp("painted") / "painted.caffemodel")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> WeightsStore:
    return WeightsStore(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def model(caffemodel: Path, store: WeightsStore) -> OpenPoseBody25:
    found = OpenPoseBody25(spec_of(caffemodel, net_height=HEIGHT), store, Compute(threads=2))
    found.load()
    return found


def jpeg(picture: Image) -> Image:
    coded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert coded
    return cv2.imdecode(data, cv2.IMREAD_COLOR).astype(np.uint8)


def assert_is(found: Person, truth: np.ndarray, per_pixel: float) -> None:
    """All 25 points are there, near the truth; ``per_pixel``: pixels of the frame for one of the input."""
    far = np.linalg.norm(found.keypoints[:, :2] - truth, axis=1) / per_pixel
    off = {NAMES[i]: round(float(far[i]), 1) for i in np.flatnonzero(far > WIDE)}
    assert not off
    assert found.keypoints[:, 2].min() >= 0.3
    assert found.keypoints[:, 2].max() <= 1
    assert (found.box[:2] <= truth.min(axis=0)).all()
    assert (found.box[2:] >= truth.max(axis=0)).all()
    assert 0.6 < found.score <= 1


@pytest.mark.parametrize(("arms", "coded"), [("down", True), ("up", False)])
def test_the_painted_figure_is_one_person_with_all_its_points(
    model: OpenPoseBody25, arms: str, coded: bool
) -> None:
    picture = painted_person.draw(arms=arms)
    (people,) = model.find_people([jpeg(picture) if coded else picture])
    assert len(people) == 1
    assert_is(people[0], painted_person.points(arms=arms), 720 / HEIGHT)


def test_pictures_of_several_sizes_in_one_call_are_answered_in_their_order(model: OpenPoseBody25) -> None:
    places = [(640, 360, None, 1.0), (400, 640, (200, 320), 0.9), (640, 360, (200, 180), 0.95)]
    pictures = [jpeg(painted_person.draw(*place)) for place in places]
    pictures.insert(1, np.zeros((360, 640, 3), np.uint8))
    people = model.find_people(pictures)
    assert [len(found) for found in people] == [1, 0, 1, 1]
    # The upright picture is 176 x 288 in the network.
    for found, place, per_pixel in zip(
        (people[0], people[2], people[3]), places, (360 / HEIGHT, 640 / HEIGHT, 360 / HEIGHT), strict=True
    ):
        assert_is(found[0], painted_person.points(*place), per_pixel)


def test_two_figures_are_two_people_the_better_first(model: OpenPoseBody25) -> None:
    left = {"centre": (330, 360), "scale": 0.9, "arms": "up"}
    right = {"centre": (950, 370), "scale": 0.95}
    picture = painted_person.draw(**right, onto=painted_person.draw(**left))
    (people,) = model.find_people([jpeg(picture)])
    assert len(people) == 2
    assert people[0].score >= people[1].score
    by_place = sorted(people, key=lambda person: person.box[0])
    assert_is(by_place[0], painted_person.points(**left), 720 / HEIGHT)
    assert_is(by_place[1], painted_person.points(**right), 720 / HEIGHT)


def test_a_frame_of_a_video_shows_the_figure_too(model: OpenPoseBody25, tmp_path: Path) -> None:
    pictures = [painted_person.draw(640, 360, (300 + 10 * i, 180)) for i in range(3)]
    with av.open(str(write_pictures(tmp_path / "a.mp4", pictures, 30, crf=20))) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 3
    (people,) = model.find_people(frames[2:])
    assert len(people) == 1
    assert_is(people[0], painted_person.points(640, 360, (320, 180)), 360 / HEIGHT)


def test_a_point_lies_half_a_pixel_of_the_frame_further(store: WeightsStore) -> None:
    """OpenPose counts a frame's pixels from their corners, and adds that before it reads the fields."""
    scene = paf_scenes.people_apart(np.random.default_rng(1), 1)
    frame = np.zeros((1080, 1920, 3), np.uint8)
    prepared = prepare([frame], 368, 656)
    untouched = OpenPoseBody25(OpenPoseBody25.default_spec(), store, Compute())
    (found,) = untouched._people(scene.heatmaps, scene.pafs, frame, prepared)
    (plain,) = find_people(scene.heatmaps, scene.pafs, BODY_25, AssemblyOptions(), prepared.net_size)
    wanted = plain.points[:, :2] * prepared.to_frame + 0.5
    np.testing.assert_allclose(found.keypoints[:, :2], wanted, atol=0.01)


def test_half_precision_and_a_smaller_network_find_the_figure(caffemodel: Path, store: WeightsStore) -> None:
    half = OpenPoseBody25(spec_of(caffemodel, precision="fp16", net_height=256), store, Compute(threads=2))
    (people,) = half.find_people([painted_person.draw()])
    assert len(people) == 1
    assert_is(people[0], painted_person.POINTS, 720 / 256)


def test_the_weights_are_converted_once(
    model: OpenPoseBody25, caffemodel: Path, store: WeightsStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "workers.weights")
    model.load()
    OpenPoseBody25(spec_of(caffemodel), store, Compute()).load()
    assert "making" not in caplog.text
    sha256 = spec_of(caffemodel).weights[0].sha256
    assert (store.folder / f"{sha256}.openpose-body25-fp32-1.onnx").is_file()


def test_the_exported_file_is_the_one_that_is_used_with_its_origin_inside(
    model: OpenPoseBody25, caffemodel: Path, store: WeightsStore, tmp_path: Path
) -> None:
    OpenPoseBody25.export(caffemodel, tmp_path / "body25.onnx", {"precision": "fp32"})
    sha256 = spec_of(caffemodel).weights[0].sha256
    used = store.folder / f"{sha256}.openpose-body25-fp32-1.onnx"
    assert (tmp_path / "body25.onnx").read_bytes() == used.read_bytes()
    notes = {prop.key: prop.value for prop in onnx.load(used).metadata_props}
    assert (notes["source"], notes["sha256"]) == ("painted.caffemodel", sha256)
    assert "non-commercial" in notes["licence"]
    assert "1812.08008" in notes["citation"]


def test_on_a_cpu_one_picture_at_a_time_unless_asked(model: OpenPoseBody25, caffemodel: Path) -> None:
    assert model.batch_size == 1
    asked = OpenPoseBody25(spec_of(caffemodel), WeightsStore(caffemodel.parent), Compute(batch=4))
    assert asked.batch_size == 4


def test_the_weights_of_another_network_are_refused_at_load(tmp_path: Path) -> None:
    other = openpose_weights.write_layers(tmp_path / "x.caffemodel", {"fc": [np.ones(3, np.float32)]})
    with pytest.raises(ModelMismatch, match="328 tensors do not fit"):
        OpenPoseBody25(spec_of(other), WeightsStore(tmp_path / "weights"), Compute()).load()
    assert not list((tmp_path / "weights").glob("*.onnx"))


def test_without_weights_the_remedy_is_named(store: WeightsStore) -> None:
    with pytest.raises(SettingsError, match="models add openpose-coco18"):
        OpenPoseCoco18(OpenPoseCoco18.default_spec(), store, Compute()).load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net_height", 360),  # no multiple of 16
        ("net_height", 0),
        ("net_height", -16),
        ("max_net_width", 100000),
        ("max_net_width", -16),
        ("precision", "int8"),
        ("precisions", "fp16"),
        ("min_score", "high"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(store: WeightsStore, name: str, value: str | int) -> None:
    spec = OpenPoseBody25.default_spec()
    with pytest.raises(SettingsError, match=name):
        OpenPoseBody25(spec.model_copy(update={"options": {**spec.options, name: value}}), store, Compute())


@pytest.mark.parametrize("kind", [OpenPoseBody25, OpenPoseCoco18])
def test_the_description_and_the_card(kind: type[OpenPose]) -> None:
    spec = kind.default_spec()
    assert (spec.name, spec.weights) == (kind.name, ())
    assert {"net_height", "max_net_width", "precision", "peak_threshold", "min_score"} <= spec.options.keys()
    assert kind.card.must_accept
    assert kind.card.suffixes == (".caffemodel",)
    assert len(kind.card.official) == 1
    assert len(bytes.fromhex(kind.card.official[0].md5)) == 16
    assert kind.card.official[0].url.endswith(kind.card.official[0].file)
    assert f"models add {kind.name} " in kind.card.obtain
    assert "never run" in kind.card.untried
