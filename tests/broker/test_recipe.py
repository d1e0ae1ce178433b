"""The identity of a recipe: what changes a result changes the id, and nothing else does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from samples_of_books import a_plan, a_video

from broker.errors import SettingsError, UnknownVersion
from broker.messages import Segment, SegmentResult
from broker.recipe import (
    CHAIN,
    Comparison,
    DuplicateRule,
    FullBodyRule,
    ModelSpec,
    Recipe,
    Sampling,
    Stage,
    TeacherGates,
    WeightsRef,
)
from broker.settings import load_settings

shares = st.floats(0, 1, allow_nan=False)
names = st.text("abcdefghij", min_size=1, max_size=8)
weights = st.builds(
    WeightsRef,
    file=names,
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    source=names,
    licence=names,
    size=st.integers(1, 10**9),
)
specs = st.builds(
    ModelSpec,
    name=names,
    version=names,
    weights=st.lists(weights, max_size=2).map(tuple),
    options=st.dictionaries(names, st.one_of(st.booleans(), st.integers(-5, 5), shares, names), max_size=3),
)
recipes = st.builds(
    Recipe,
    sampling=st.builds(Sampling, candidates_per_second=st.floats(0.1, 60)),
    rule=st.builds(FullBodyRule, min_confidence=shares),
    duplicates=st.builds(DuplicateRule, hash_distance=st.integers(0, 64)),
    teacher=st.builds(TeacherGates, min_stability=shares, second_look=st.booleans()),
    comparison=st.builds(Comparison, iou_threshold=shares),
    pose_model=specs,
    mask_model=specs,
    device_model=specs,
)


@given(recipes)
def test_the_id_survives_the_wire(recipe: Recipe) -> None:
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert [again.stage_id(stage) for stage in CHAIN] == [recipe.stage_id(stage) for stage in CHAIN]


@given(recipes, recipes)
def test_equal_ids_mean_equal_work(one: Recipe, other: Recipe) -> None:
    def identity(recipe: Recipe) -> str:
        content = recipe.model_dump(mode="json")
        for model in ("pose_model", "mask_model", "device_model"):
            content[model]["weights"] = [ref["sha256"] for ref in content[model]["weights"]]
        return json.dumps(content, sort_keys=True)

    assert (one.id == other.id) == (identity(one) == identity(other))


@pytest.mark.parametrize(
    ("change", "first_new"),
    [
        ({"sampling": Sampling(keeps_per_second=1)}, Stage.POSE),  # other frames: everything is new
        ({"rule": FullBodyRule(frame_margin=0.1)}, Stage.POSE),  # another rule: everything is new
        ({"teacher": TeacherGates(min_stability=0.9)}, Stage.MASK),  # poses are used again
        ({"device_model": ModelSpec(name="me", version="2")}, Stage.ME),  # new firmware: me and compare
        ({"comparison": Comparison(iou_threshold=0.6)}, Stage.COMPARE),  # only the judgement
    ],
)
def test_a_change_renews_its_stage_and_those_after_it(change: dict[str, object], first_new: Stage) -> None:
    spec = ModelSpec(name="m", version="1")
    before = Recipe(pose_model=spec, mask_model=spec, device_model=spec)
    after = before.model_copy(update=change)
    renewed = [stage for stage in CHAIN if before.stage_id(stage) != after.stage_id(stage)]
    assert renewed == list(CHAIN[CHAIN.index(first_new) :])


@given(recipes, names)
def test_where_the_bytes_come_from_is_no_part_of_the_id(recipe: Recipe, elsewhere: str) -> None:
    moved = tuple(ref.model_copy(update={"source": elsewhere}) for ref in recipe.pose_model.weights)
    spec = recipe.pose_model.model_copy(update={"weights": moved})
    assert recipe.model_copy(update={"pose_model": spec}).id == recipe.id


def segment() -> Segment:
    return a_plan(a_video(), 1)[0]


def test_a_message_of_another_version_is_refused_with_a_remedy() -> None:
    message = SegmentResult(segment=segment()).model_dump(mode="json") | {"version": 99}
    with pytest.raises(UnknownVersion, match="same release"):
        SegmentResult.model_validate(message)


def test_a_message_with_unknown_fields_is_refused() -> None:
    message = SegmentResult(segment=segment()).model_dump(mode="json") | {"pixels": "AAAA"}
    with pytest.raises(ValidationError, match="pixels"):
        SegmentResult.model_validate(message)


def test_a_segment_has_a_length() -> None:
    with pytest.raises(ValidationError, match="ends at"):
        Segment.model_validate(segment().model_dump() | {"end_ms": 0})


@pytest.mark.parametrize(
    ("group", "value", "named"),
    [
        ("rule", {"head_points": [0, 30]}, "HEAD_POINTS"),  # BODY_25 ends at 24
        ("rule", {"head_points": [-1]}, "HEAD_POINTS"),  # would be the last point, a heel
        ("rule", {"head_points": []}, "HEAD_POINTS"),  # nobody would have a head
        ("sampling", {"segment_seconds": 0.05}, "SEGMENT_SECONDS"),  # a message for every frame
    ],
)
def test_numbers_without_a_meaning_are_refused_by_name(group: str, value: object, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings(**{group: value})


def test_the_bounds_themselves_are_allowed() -> None:
    settings = load_settings(rule={"head_points": [0, 24]}, sampling={"segment_seconds": 0.1})
    assert (settings.rule.head_points, settings.sampling.segment_seconds) == ((0, 24), 0.1)


def test_a_copy_has_ids_of_its_own() -> None:
    spec = ModelSpec(name="m", version="1")
    recipe = Recipe(pose_model=spec, mask_model=spec, device_model=spec)
    asked = [recipe.stage_id(stage) for stage in CHAIN]
    other = recipe.model_copy(update={"sampling": Sampling(segment_seconds=7.0)})
    assert not set(asked) & {other.stage_id(stage) for stage in CHAIN}
    again = other.model_copy(update={"sampling": recipe.sampling})
    assert [again.stage_id(stage) for stage in CHAIN] == asked
    fresh = Recipe.model_validate_json(recipe.model_dump_json())  # who was asked is no other recipe
    assert fresh == recipe and fresh.model_dump() == recipe.model_dump()
