"""From heat maps and affinity fields to people: against a slow reference, the truth, and its own laws."""

import numpy as np
import paf_reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paf_scenes import Scene, crowd, figure, part_count, people_apart

from workers.pose.openpose.assembly import Assembled, find_people
from workers.pose.openpose.bicubic import Maps
from workers.pose.openpose.options import AssemblyOptions
from workers.pose.openpose.skeletons import BODY_25, COCO_18, Skeleton

SMALL = (14, 26)
"""Cells of the scenes that the slow reference works through."""
SCENES = 220
EVERYBODY = AssemblyOptions(person_min_parts=0)


def people_of(scene: Scene, options: AssemblyOptions = EVERYBODY, offset: float = 0.0) -> list[Assembled]:
    return find_people(scene.heatmaps, scene.pafs, BODY_25, options, scene.net_size, offset)


def same_people(
    found: list[Assembled], expected: list[paf_reference.Found], distance: float = 1e-3, score: float = 1e-5
) -> None:
    """The same people in the same order, with the same parts at the same places."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert set(np.flatnonzero(ours.points[:, 2])) == set(theirs.points)
        assert ours.score == pytest.approx(theirs.score, abs=score)
        for part, (x, y, value) in theirs.points.items():
            assert ours.points[part, :2] == pytest.approx((x, y), abs=distance)
            assert ours.points[part, 2] == pytest.approx(value, abs=score)


@pytest.mark.parametrize("skeleton", [BODY_25, COCO_18])
def test_the_limbs_are_those_of_openpose(skeleton: Skeleton) -> None:
    assert list(skeleton.pairs) == paf_reference.pairs(skeleton.n_parts)
    assert list(skeleton.paf_channels) == paf_reference.channels(skeleton.n_parts)


@pytest.mark.parametrize("seed", range(SCENES))
def test_equals_the_slow_reference(seed: int) -> None:
    scene = crowd(seed, SMALL)
    offset = (0.0, 0.5, 0.256, 1.9)[seed % 4]
    expected = paf_reference.reference_people(scene.heatmaps, scene.pafs, EVERYBODY, offset)
    same_people(people_of(scene, offset=offset), expected)


def test_the_scenes_have_everything_in_them() -> None:
    """So that equality on them says something: nobody and many, whole people and fragments."""
    found = [people_of(crowd(seed, SMALL)) for seed in range(0, SCENES, 2)]
    counts = {len(people) for people in found}
    parts = {part_count(person) for people in found for person in people}
    assert {0, 1, 2, 3, 4, 5, 6} <= counts
    assert {3, 10, 25} <= parts


@pytest.mark.parametrize("seed", [3, 8])
def test_equals_the_slow_reference_at_full_size(seed: int) -> None:
    scene = crowd(seed)
    same_people(people_of(scene), paf_reference.reference_people(scene.heatmaps, scene.pafs, EVERYBODY))


@pytest.mark.parametrize("sigma", [0.02, 0.3])
def test_equals_the_slow_reference_on_noise_alone(sigma: float) -> None:
    scene = Scene((9, 11)).add_noise(np.random.default_rng(5), sigma)
    few = AssemblyOptions(person_min_parts=0, max_peaks=4, paf_ratio=0.6)
    expected = paf_reference.reference_people(scene.heatmaps, scene.pafs, few)
    same_people(people_of(scene, few), expected)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_people_apart_are_found_whole(count: int, seed: int) -> None:
    scene = people_apart(np.random.default_rng(seed), count)
    found = people_of(scene, AssemblyOptions())
    assert len(found) == count
    unseen = list(scene.truth)
    for person in found:
        errors = [np.linalg.norm(person.points[:, :2] - truth, axis=1).max() for truth in unseen]
        nearest = int(np.argmin(errors))
        # Two toes of a small foot share a blob's flanks, so a point may move by a part of a cell.
        assert part_count(person) == 25 and errors[nearest] < 4
        unseen.pop(nearest)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_laws_of_any_result(seed: int) -> None:
    people = people_of(crowd(seed, SMALL))
    scores = [person.score for person in people]
    assert scores == sorted(scores, reverse=True)
    seen = [
        (part, *person.points[part].tolist())
        for person in people
        for part in np.flatnonzero(person.points[:, 2])
    ]
    assert len(seen) == len(set(seen)), "a peak belongs to two people"
    for person in people:
        assert person.points.shape == (25, 3) and person.points.dtype == np.float32
        assert not person.points[person.points[:, 2] == 0].any()
        assert part_count(person) >= EVERYBODY.min_parts


def flipped(maps: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(maps[:, :, ::-1])


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_a_mirrored_image_has_mirrored_people(seed: int) -> None:
    scene = crowd(seed, SMALL)
    pafs = flipped(scene.pafs)
    pafs[0::2] *= -1
    mirrored = find_people(flipped(scene.heatmaps), pafs, BODY_25, EVERYBODY, scene.net_size)
    people = people_of(scene)
    assert len(mirrored) == len(people)
    for one, other in zip(people, mirrored, strict=True):
        seen = one.points[:, 2] > 0
        expected = one.points[seen] * (-1, 1, 1) + (scene.net_size[0] - 1, 0, 0)
        assert other.points[seen] == pytest.approx(expected, abs=1e-3)
        assert part_count(other) == part_count(one)


def placed(maps: np.ndarray, row: int, column: int) -> np.ndarray:
    """``maps`` in the midst of larger ones."""
    large = np.zeros((len(maps), maps.shape[1] + 16, maps.shape[2] + 16), np.float32)
    large[:, row : row + maps.shape[1], column : column + maps.shape[2]] = maps
    return large


@given(st.integers(0, 10_000), st.integers(4, 12), st.integers(4, 12))
@settings(max_examples=25)
def test_a_shifted_image_has_shifted_people(seed: int, row: int, column: int) -> None:
    scene = crowd(seed, SMALL)
    size = (scene.net_size[0] + 128, scene.net_size[1] + 128)
    here, there = (
        find_people(placed(scene.heatmaps, *at), placed(scene.pafs, *at), BODY_25, EVERYBODY, size)
        for at in ((8, 8), (row, column))
    )
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        seen = one.points[:, 2] > 0
        move = (8 * (column - 8), 8 * (row - 8), 0)
        assert other.points[seen] == pytest.approx(one.points[seen] + move, abs=1e-3)
        assert other.score == pytest.approx(one.score, abs=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_weak_noise_away_from_people_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = Scene()
    scene.add(figure(rng, (200, 180), 250))
    before = people_of(scene)
    # Up-sampling makes at most 1.89 times as much of it: below the threshold of 0.05.
    for maps in (scene.heatmaps, scene.pafs):
        maps[:, :, 50:] += rng.uniform(-0.025, 0.025, maps[:, :, 50:].shape).astype(np.float32)
    after = people_of(scene)
    assert len(before) == len(after) == 1
    assert np.array_equal(before[0].points, after[0].points) and before[0].score == after[0].score


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(2, 9))
@settings(max_examples=30)
def test_single_pixels_are_those_of_the_up_sampled_map(seed: int, height: int, width: int) -> None:
    maps = np.random.default_rng(seed).normal(size=(3, height, width)).astype(np.float32)
    whole = paf_reference.up_sampled(maps)
    channels, ys, xs = (index.ravel() for index in np.indices(whole.shape))
    assert Maps(maps).sample(channels, ys, xs) == pytest.approx(whole.ravel(), abs=4e-6)
