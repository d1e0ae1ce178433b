"""OpenPose's points as BODY_25 in the frame."""

import numpy as np

from workers.pose.body25 import NAMES
from workers.pose.openpose.answers import answered, body25, person
from workers.pose.openpose.assembly import Assembled
from workers.pose.openpose.model import OpenPoseBody25, OpenPoseCoco18
from workers.pose.openpose.skeletons import BODY_25, COCO_18

TOES_AND_HEELS = frozenset(range(19, 25))


def test_what_each_model_can_answer() -> None:
    assert OpenPoseBody25.answers == answered(BODY_25) == frozenset(range(25))
    assert OpenPoseCoco18.answers == answered(COCO_18) == frozenset(range(25)) - TOES_AND_HEELS


def coco_points() -> np.ndarray:
    """18 x 3: the number of the part as x, ten times it as y, confidence 0.5 and a bit for each."""
    numbers = np.arange(18, dtype=np.float32)
    return np.stack([numbers, 10 * numbers, 0.5 + numbers / 100], axis=1)


def test_each_of_the_18_points_gets_the_place_of_its_name() -> None:
    keypoints = body25(coco_points(), COCO_18)
    assert len(COCO_18.parts) == 18
    for number, part in enumerate(COCO_18.parts):
        np.testing.assert_array_equal(keypoints[NAMES.index(part)], coco_points()[number])
    np.testing.assert_array_equal(keypoints[sorted(TOES_AND_HEELS)], 0)


def test_the_mid_hip_lies_between_the_hips_with_the_lower_confidence() -> None:
    # COCO's right hip is part 8 and the left one part 11.
    np.testing.assert_allclose(body25(coco_points(), COCO_18)[8], (9.5, 95, 0.58))


def test_without_one_hip_there_is_no_mid_hip() -> None:
    for hip in (8, 11):
        points = coco_points()
        points[hip] = 0
        np.testing.assert_array_equal(body25(points, COCO_18)[8], 0)


def test_body25_keeps_its_own_mid_hip() -> None:
    points = np.random.default_rng(0).random((25, 3)).astype(np.float32)
    np.testing.assert_array_equal(body25(points, BODY_25), points)


def test_a_person_is_in_pixels_of_the_frame_with_scores_up_to_one() -> None:
    points = np.zeros((25, 3), np.float32)
    points[0], points[1] = (10, 20, 1.3), (30, 60, 0.4)
    found = person(Assembled(points, 1.2), BODY_25, to_frame=2.0, height=110, width=200)
    np.testing.assert_allclose(found.keypoints[:2], [(20, 40, 1), (60, 120, 0.4)], rtol=1e-6)
    np.testing.assert_array_equal(found.keypoints[2:], 0)
    # The hull of the two points, 4 pixels wider (5 % of its longer side), cut at the frame.
    np.testing.assert_allclose(found.box, (16, 36, 64, 110), rtol=1e-6)
    assert found.score == 1.0
    assert points[0, 0] == 10  # what was given is not changed
