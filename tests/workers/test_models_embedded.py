"""The embedded models on real weights and real clips. No exact mask is asserted: OpenCV may change pixels."""

import av
import cv2
import numpy as np
import pytest

from broker.settings import load_settings
from workers import models
from workers.devices.answers import mask_of
from workers.errors import ModelMismatch
from workers.litert import LiteRT
from workers.pose.blazepose import BlazePose
from workers.pose.geometry import mask_iou


@pytest.fixture(scope="module")
def trio(weights):
    chosen = load_settings()
    found = (
        models.open_pose(models.pose_spec(chosen), weights),
        models.open_mask(models.mask_spec(chosen), weights),
        models.open_device(models.device_spec(chosen), weights),
    )
    for model in found:
        model.load()
        model.load()  # a second time costs nothing and changes nothing
    return found


def frames(path, numbers):
    with av.open(str(path)) as video:
        found = [
            frame.to_ndarray(format="rgb24") for i, frame in enumerate(video.decode(video=0)) if i in numbers
        ]
    assert len(found) == len(numbers)
    return found


@pytest.fixture(scope="module")
def athlete(clips):
    """One person, nobody else, upright in the middle of an 1080 x 1920 frame."""
    return frames(clips["SinglePerson_cam04"], {40})[0]


def test_a_lone_athlete_is_one_person_with_a_whole_body(trio, athlete):
    (people,) = trio[0].find_people([athlete])
    (person,) = people
    height, width = athlete.shape[:2]
    seen = person.keypoints[[0, 4, 7, 19, 22]]
    assert (seen[:, 2] >= 0.3).all()
    assert ((seen[:, :2] > 0) & (seen[:, :2] < (width, height))).all()
    x0, y0, x1, y1 = person.box
    assert ((seen[:, :2] >= (x0, y0)) & (seen[:, :2] <= (x1, y1))).all()
    assert 0.9 <= person.score <= 1


def test_the_teacher_draws_the_athlete_and_is_sure(trio, athlete):
    (person,) = trio[0].find_people([athlete])[0]
    (instance,) = trio[1].segment([athlete], second_look=True)[0]
    assert instance.mask.shape == athlete.shape[:2]
    assert instance.mask.dtype == np.bool_
    assert instance.stability >= 0.9
    assert 0 < instance.side < 2 * athlete.shape[0]
    torso = person.keypoints[[1, 2, 5, 8, 9, 12], :2].astype(int)
    assert instance.mask[torso[:, 1], torso[:, 0]].all()
    assert 0.02 < instance.mask.mean() < 0.5


def test_the_device_sees_the_same_athlete_less_well(trio, athlete):
    drawn = mask_of(trio[2].maps([athlete])[0], athlete.shape[1], athlete.shape[0], 0.5)
    assert drawn.shape == athlete.shape[:2]
    assert 0.1 < mask_iou(drawn, trio[1].segment([athlete], False)[0][0].mask) < 0.99


def test_a_mirrored_athlete_is_mirrored(trio, athlete):
    mirrored = np.ascontiguousarray(athlete[:, ::-1])
    mask = trio[1].segment([athlete], False)[0][0].mask
    assert mask_iou(trio[1].segment([mirrored], False)[0][0].mask[:, ::-1], mask) > 0.9
    point = trio[0].find_people([athlete])[0][0].keypoints[4]
    other = trio[0].find_people([mirrored])[0][0].keypoints[7]  # right becomes left
    assert np.hypot(athlete.shape[1] - other[0] - point[0], other[1] - point[1]) < 0.03 * athlete.shape[0]


def test_two_athletes_side_by_side_are_two(trio, athlete):
    pair = np.ascontiguousarray(np.concatenate([athlete, athlete[:, ::-1]], axis=1))
    assert len(trio[0].find_people([pair])[0]) == 2
    first, second = trio[1].segment([pair], second_look=False)[0]
    assert mask_iou(first.mask, second.mask) == 0
    assert first.mask.sum() >= second.mask.sum()


def test_a_small_bystander_is_found_by_the_second_look_only(trio, athlete):
    scene = athlete.copy()
    ys, xs = np.nonzero(trio[1].segment([athlete], False)[0][0].mask)
    body = athlete[ys.min() : ys.max(), xs.min() : xs.max()]
    small = cv2.resize(body, (body.shape[1] * 2 // 5, body.shape[0] * 2 // 5), interpolation=cv2.INTER_AREA)
    # The emptier upper corner, away from the athlete.
    left = 10 if xs.mean() > athlete.shape[1] / 2 else athlete.shape[1] - small.shape[1] - 10
    scene[10 : 10 + small.shape[0], left : left + small.shape[1]] = small
    assert len(trio[0].find_people([scene])[0]) == 1
    main, *others = trio[1].segment([scene], second_look=True)[0]
    assert others
    for other in others:
        assert other.measures["presence"] > 0.3
        assert other.measures["overlap"] < 0.5
        assert other.mask.sum() < main.mask.sum()
    assert len(trio[1].segment([scene], second_look=False)[0]) == 1


def test_the_clips_with_two_people_never_pass_as_one(trio, clips):
    pose, teacher, _ = trio
    for camera in (1, 2, 3, 4):
        for image in frames(clips[f"MultiPerson_cam0{camera}"], {30, 75}):
            one_pose = len(pose.find_people([image])[0]) == 1
            assert not (one_pose and _whole(pose, image) and len(teacher.segment([image], True)[0]) == 1)


def _whole(pose, image):
    points = pose.find_people([image])[0][0].keypoints
    return (points[[4, 7, 19, 22], 2] >= 0.3).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((480, 640, 3), np.uint8),  # a black frame between two cuts
        np.full((1, 1, 3), 255, np.uint8),  # a single pixel
        np.random.default_rng(1).integers(0, 256, (360, 202, 3), dtype=np.uint8),  # noise
        np.zeros((8, 3000, 3), np.uint8),  # a ribbon
    ],
)
def test_a_picture_without_people_has_none(trio, image):
    assert trio[0].find_people([image]) == [[]]
    assert trio[1].segment([image], second_look=True)[0] == []
    mask = mask_of(trio[2].maps([image])[0], image.shape[1], image.shape[0], 0.5)
    assert mask.shape == image.shape[:2]


def test_no_images_give_no_answers(trio):
    assert trio[0].find_people([]) == []
    assert trio[2].maps([]) == []


def test_the_options_of_a_description_act(weights, athlete):
    spec = BlazePose.default_spec()
    strict = spec.model_copy(update={"options": {**spec.options, "min_detection": 0.999}})
    assert models.open_pose(strict, weights).find_people([athlete]) == [[]]
    deaf = spec.model_copy(update={"options": {**spec.options, "min_presence": 1.01}})
    ((person,),) = models.open_pose(deaf, weights).find_people([athlete])
    assert (person.keypoints[:, 2] == 0).all()


def test_weights_of_other_networks_are_refused(weights):
    spec = BlazePose.default_spec()
    swapped = spec.model_copy(update={"weights": spec.weights[::-1]})
    with pytest.raises(ModelMismatch) as refused:
        models.open_pose(swapped, weights).load()
    assert "1x2254x12" in refused.value.cause


def test_a_network_answers_by_shape_and_names_what_it_has(weights):
    network = LiteRT(weights.path(BlazePose.default_spec().weights[1]))
    assert network.output(1, 195).shape == (1, 195)
    with pytest.raises(ModelMismatch, match="1x195"):
        network.output(1, 17, 3)


@pytest.mark.parametrize(("clip", "least"), [("rollerblade", 0.85), ("tennis", 0.85), ("swing", 0.7)])
def test_the_teachers_masks_are_near_the_truth(trio, shared_data, clip, least):
    """Truth of swing leaves out what a post hides, and both it and tennis hold ropes or a racket."""
    ious = []
    with av.open(str(shared_data / "davis" / f"{clip}.mp4")) as video:
        for i, frame in enumerate(video.decode(video=0)):
            image = frame.to_ndarray(format="rgb24") if i % 6 == 0 else None
            if image is None or len(trio[0].find_people([image])[0]) != 1 or not _whole(trio[0], image):
                continue
            truth = cv2.imread(str(shared_data / "davis" / "masks" / clip / f"{i:05d}.png"), 0) > 0
            ious += [mask_iou(i.mask, truth) for i in trio[1].segment([image], False)[0][:1]]
    assert ious
    assert np.mean(ious) >= least
