import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stage_fakes import picture, standing

from broker.messages import Keeper
from broker.recipe import DuplicateRule
from tasks.crops import perceptual_hash, person_crop
from tasks.duplicates import (
    NOTHING_IN_COMMON,
    find_repeated,
    hash_distance,
    nearest,
)
from tasks.duplicates import pose_distance as pose_distance_from

coordinates = st.floats(0, 500, width=32)
confidence = st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0])
poses = st.lists(st.tuples(coordinates, coordinates, confidence), min_size=25, max_size=25).map(tuple)
hashes = st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")


def pose_distance(a, b):
    return pose_distance_from(a, b, 0.3)


def as_keypoints(points):
    return tuple(tuple(float(v) for v in row) for row in points)


def keeper(points, phash, time_ms=0):
    return Keeper(time_ms=time_ms, keypoints=points, box=(0, 0, 1, 1), frame_key="k", phash=phash)


@given(poses, poses)
def test_pose_distance_is_symmetric_and_not_negative(a, b):
    assert pose_distance(a, b) == pytest.approx(pose_distance(b, a))
    assert pose_distance(a, b) >= 0


@given(poses.filter(lambda pose: any(c >= 0.3 for _, _, c in pose)))
def test_a_pose_repeats_itself(a):
    assert pose_distance(a, a) == 0


@pytest.mark.parametrize("factor", [0.25, 0.5, 2.0, 4.0])
def test_pose_distance_does_not_depend_on_the_resolution(factor):
    a, b = standing(), standing(shift=(5, 3))
    scale = np.array([factor, factor, 1])
    small = pose_distance(as_keypoints(a), as_keypoints(b))
    assert pose_distance(as_keypoints(a * scale), as_keypoints(b * scale)) == pytest.approx(small, rel=1e-5)


def test_pose_distance_is_the_mean_displacement_over_the_extent():
    a, b = standing(), standing(shift=(3, 4))
    assert pose_distance(as_keypoints(a), as_keypoints(b)) == pytest.approx(5 / 92, rel=1e-5)


def test_the_larger_body_is_the_yardstick():
    a, b = as_keypoints(standing()), as_keypoints(standing(scale=2.0))
    moved = np.mean([np.hypot(x, y) for x, y, _ in a])
    assert pose_distance(a, b) == pytest.approx(moved / 184, rel=1e-5)


def test_poses_without_a_common_point_are_far_apart():
    a = standing(**{f"p{i}": 0.0 for i in range(12)})
    b = standing(**{f"p{i}": 0.0 for i in range(12, 25)})
    assert pose_distance(as_keypoints(a), as_keypoints(b)) == NOTHING_IN_COMMON


@given(hashes, hashes, hashes)
def test_hash_distance_is_a_metric(a, b, c):
    assert hash_distance(a, a) == 0
    assert hash_distance(a, b) == hash_distance(b, a)
    assert (hash_distance(a, b) == 0) == (a == b)
    assert hash_distance(a, c) <= hash_distance(a, b) + hash_distance(b, c) <= 128


def test_hash_survives_what_does_not_change_the_picture():
    image = cv2.GaussianBlur(picture(1, 240, 320), (0, 0), 8)
    smaller = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    brighter = cv2.convertScaleAbs(image, alpha=0.8, beta=20)
    encoded = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    for changed in (smaller, brighter, encoded):
        assert hash_distance(perceptual_hash(image), perceptual_hash(changed)) <= 6


@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_frequencies_lie_above_their_median(seed):
    bits = int(perceptual_hash(picture(seed)), 16).bit_count()
    assert bits in (31, 32)  # 31 of 63, and brightness


def test_hash_tells_different_pictures_apart():
    distances = [hash_distance(perceptual_hash(picture(0)), perceptual_hash(picture(s))) for s in range(1, 9)]
    assert min(distances) > 12


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_hash_of_any_crop_has_16_hex_digits(crop):
    text = perceptual_hash(crop)
    assert len(text) == 16
    assert int(text, 16) >= 0


@pytest.mark.parametrize(
    ("rule", "repeats"),
    [
        (DuplicateRule(pose_distance=0.05, hash_distance=6), True),  # both within
        (DuplicateRule(pose_distance=0.01, hash_distance=6), False),  # the pose has moved
        (DuplicateRule(pose_distance=0.05, hash_distance=2), False),  # the picture has changed
        (DuplicateRule(pose_distance=0.01, hash_distance=2), False),  # neither within
    ],
)
def test_a_frame_repeats_when_pose_and_picture_do(rule, repeats):
    kept = [keeper(as_keypoints(standing()), "0" * 16)]
    found = find_repeated(as_keypoints(standing(shift=(3, 0))), "000000000000000f", kept, rule, 0.3)
    assert (found is not None) == repeats
    if found:
        assert found == (pytest.approx(3 / 92, rel=1e-5), 4)


def test_every_kept_frame_counts_not_only_the_last():
    kept = [
        keeper(as_keypoints(standing()), "0" * 16),
        keeper(as_keypoints(standing((40, 0))), "f" * 16, 500),
    ]
    assert find_repeated(as_keypoints(standing()), "0" * 16, kept, DuplicateRule(), 0.3) == (0.0, 0)
    assert nearest(as_keypoints(standing()), "f" * 16, kept, 0.3) == (0.0, 0)
    assert nearest(as_keypoints(standing()), "f" * 16, [], 0.3) is None


@given(shift=st.tuples(st.integers(-300, 300), st.integers(-300, 300)))
def test_a_crop_is_never_empty(shift):
    image = picture()
    crop = person_crop(image, standing(shift=shift), 0.3)
    assert crop.shape[0] >= 1
    assert crop.shape[1] >= 1


def test_crop_of_nobody_is_the_picture():
    image = picture()
    assert person_crop(image, np.zeros((25, 3), np.float32), 0.3) is image
