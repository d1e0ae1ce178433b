"""The assembly where maps are odd: noise, ties, damage, fragments, feet; and what it costs."""

import cProfile
import importlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from paf_scenes import CELLS, Scene, figure, part_count, people_apart

from broker.errors import SettingsError
from workers.errors import ImageFailed
from workers.pose.openpose.assembly import Assembled, find_people
from workers.pose.openpose.options import AssemblyOptions
from workers.pose.openpose.skeletons import BODY_25

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULTS = AssemblyOptions()
EVERYBODY = AssemblyOptions(person_min_parts=0)
SIZE = (8 * CELLS[1], 8 * CELLS[0])


def people_of(scene: Scene, options: AssemblyOptions = DEFAULTS) -> list[Assembled]:
    return find_people(scene.heatmaps, scene.pafs, BODY_25, options, scene.net_size)


def one_person(parts: list[int] | None = None, strength: float = 1.0) -> Scene:
    seen = np.ones(25, bool) if parts is None else np.isin(np.arange(25), parts)
    return Scene().add(figure(np.random.default_rng(4), (320, 184), 280), seen, strength)


def white_noise(channels: int) -> np.ndarray:
    return np.random.default_rng(channels).uniform(-1, 1, (channels, *CELLS)).astype(np.float32)


def constant(value: float) -> tuple[np.ndarray, np.ndarray]:
    return np.full((26, *CELLS), value, np.float32), np.full((52, *CELLS), value, np.float32)


ODD = {
    "black": constant(0.0),
    "constant": constant(0.7),
    "white noise": (white_noise(26), white_noise(52)),
    "white noise in a field that says yes to every second limb": (white_noise(26), constant(0.7)[1]),
    "not a number": constant(np.nan),
    "infinite": constant(np.inf),
    "beyond float32 once summed": constant(3e38),
}


NOT_NUMBERS = ["not a number", "infinite", "beyond float32 once summed"]


@pytest.mark.parametrize("name", [name for name in ODD if name not in NOT_NUMBERS])
def test_odd_maps_take_a_bounded_number_of_steps_and_little_memory(name: str) -> None:
    heatmaps, pafs = ODD[name]
    with cProfile.Profile() as profile:
        find_people(heatmaps, pafs, BODY_25, EVERYBODY, SIZE)
    assert sum(entry.callcount for entry in profile.getstats()) < 100_000  # 29,000 for the worst
    tracemalloc.start()
    try:
        find_people(heatmaps, pafs, BODY_25, EVERYBODY, SIZE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000_000  # 15 MB for the worst; all peaks with each other would be gigabytes


def test_maps_that_say_nothing_show_nobody() -> None:
    assert find_people(*ODD["black"], BODY_25, EVERYBODY, SIZE) == []


@pytest.mark.parametrize("name", NOT_NUMBERS)
def test_maps_without_numbers_are_no_empty_picture(name: str) -> None:
    with pytest.raises(ImageFailed, match="of the 94300 values of OpenPose's heat maps") as raised:
        find_people(*ODD[name], BODY_25, EVERYBODY, SIZE)
    assert "fp32" in raised.value.remedy


@pytest.mark.parametrize(("name", "value"), [("heatmaps", np.nan), ("pafs", -np.inf)])
def test_one_damaged_value_is_reported(name: str, value: float) -> None:
    scene = one_person()
    getattr(scene, name)[7, 40, 2] = value
    with pytest.raises(ImageFailed, match=r"^1 of the"):
        people_of(scene)


def test_a_symmetrical_blob_has_one_peak() -> None:
    """Centred on a cell its four middle pixels are equal, so that none is higher than all the others."""
    scene = Scene()
    points = np.full((25, 2), -1000.0)
    points[[1, 8, 0]] = (323.5, 99.5), (323.5, 203.5), (323.5, 51.5)
    people = people_of(scene.add(points, np.isin(np.arange(25), [0, 1, 8])), EVERYBODY)
    assert [part_count(person) for person in people] == [3]
    assert people[0].points[[0, 1, 8], :2] == pytest.approx(points[[0, 1, 8]], abs=0.5)


def test_the_highest_peaks_are_used() -> None:
    scene = people_apart(np.random.default_rng(1), 4)
    weak = people_apart(np.random.default_rng(1), 4).heatmaps[:, :, :41] * 0.5
    scene.heatmaps[:, :, :41] = weak
    people = people_of(scene, AssemblyOptions(max_peaks=2, min_score=0.1))
    assert len(people) == 2
    assert all(person.points[:, 0].min() > 320 for person in people)


@pytest.mark.parametrize(
    ("parts", "counts", "why"),
    [
        ([9, 10, 11], [3], "a leg without its foot"),
        ([9, 10, 11, 22, 23, 24], [6], "a leg with its foot: nobody else is here, so feet count"),
        ([11, 22, 23, 24], [4], "a foot alone"),
        ([2, 3], [], "two parts"),
    ],
)
def test_feet_count_only_where_nobody_else_is(parts: list[int], counts: list[int], why: str) -> None:
    assert [part_count(person) for person in people_of(one_person(parts), EVERYBODY)] == counts, why


def test_a_leg_with_its_foot_beside_a_person_is_nobody() -> None:
    scene = Scene().add(figure(np.random.default_rng(2), (180, 184), 280))
    leg = np.isin(np.arange(25), [9, 10, 11, 22, 23, 24])
    scene.add(figure(np.random.default_rng(3), (480, 184), 280), leg)
    assert [part_count(person) for person in people_of(scene, EVERYBODY)] == [25]


@pytest.mark.parametrize(
    ("parts", "strength", "counts", "why"),
    [
        ([2, 3, 4], 0.4, [25], "few parts, weak: a fragment"),
        ([2, 3, 4], 1.0, [25, 3], "few parts, sure: a person at the edge of sight"),
        ([1, 2, 3, 4, 5, 8], 0.4, [25, 6], "enough parts, weak: a person in the dark"),
    ],
)
def test_only_a_weak_group_of_few_parts_is_a_fragment(
    parts: list[int], strength: float, counts: list[int], why: str
) -> None:
    scene = Scene().add(figure(np.random.default_rng(2), (180, 184), 280))
    scene.add(figure(np.random.default_rng(3), (480, 184), 280), np.isin(np.arange(25), parts), strength)
    assert [part_count(person) for person in people_of(scene)] == counts, why
    assert [part_count(person) for person in people_of(scene, EVERYBODY)] == [25, len(parts)]


def test_a_small_person_counts_unless_a_least_area_is_asked_for() -> None:
    scene = Scene().add(figure(np.random.default_rng(2), (180, 184), 280))
    scene.add(figure(np.random.default_rng(3), (480, 184), 120))
    large, small = (person.box_area / (SIZE[0] * SIZE[1]) for person in people_of(scene))
    assert 0 < small < large < 1
    least = AssemblyOptions(person_min_area=(small + large) / 2)
    assert [person.box_area for person in people_of(scene, least)] == [large * SIZE[0] * SIZE[1]]


@pytest.mark.parametrize(
    "options",
    [
        {"max_peaks": 0},
        {"max_peaks": 128},
        {"peak_threshold": -0.1},
        {"peak_threshold": float("nan")},
        {"paf_ratio": 1.5},
        {"min_parts": 0},
        {"min_score": float("inf")},
        {"person_min_parts": 26},
        {"person_min_confidence": float("nan")},
        {"person_min_area": -0.1},
    ],
    ids=str,
)
def test_an_option_out_of_range_is_named(options: dict[str, float]) -> None:
    name, value = next(iter(options.items()))
    with pytest.raises(SettingsError) as raised:
        AssemblyOptions(**options)  # type: ignore[arg-type]
    assert name in raised.value.cause and str(value) in raised.value.cause


@pytest.mark.parametrize("wrong", ["net_size", "heatmaps", "pafs"])
def test_maps_of_another_network_are_refused(wrong: str) -> None:
    maps = {"heatmaps": np.zeros((26, *CELLS), np.float32), "pafs": np.zeros((52, *CELLS), np.float32)}
    size = (SIZE[0] + 8, SIZE[1]) if wrong == "net_size" else SIZE
    if wrong in maps:
        maps[wrong] = maps[wrong][:-1]
    with pytest.raises(ValueError, match="body25"):
        find_people(maps["heatmaps"], maps["pafs"], BODY_25, EVERYBODY, size)


def test_it_costs_less_than_up_sampling_the_maps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY)  # the benchmarks are not installed
    numbers = importlib.import_module("benchmarks.openpose_assembly").measure(rounds=5)
    assert numbers["one person"]["people"] == 1 and numbers["8 people"]["people"] == 8
    assert numbers["empty"]["ratio_to_up_sampling"] < 0.2
    assert numbers["one person"]["ratio_to_up_sampling"] < 0.5
    assert numbers["one person"]["ratio_to_reference"] < 0.25
