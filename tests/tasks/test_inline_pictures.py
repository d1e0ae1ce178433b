"""Pixels inside the message: in the end the store holds what it would hold if the device had reached it."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples_of_books import a_keeper, a_plan, a_video

from broker.artifacts import Artifacts
from broker.embedded import EmbeddedBroker
from broker.errors import ArtifactMissing, SettingsError
from broker.messages import InlinePicture, SegmentResult, Verdict
from broker.recipe import CHAIN, ModelSpec, Recipe, Route, Stage
from broker.settings import load_settings
from broker.voiding import Voided
from tasks import inline_pictures as inline
from tasks.device_masks import DeviceMasks
from tasks.inline_way import hand_on, ready_to_send
from tasks.pipeline import run_stages
from tasks.placement import Placement, all_groups, group_of_task
from tasks.readable import Handed
from tasks.runtime import Runtime
from tasks.voids import MessageVoid, check_start
from workers.errors import ImageFailed
from workers.pictures import encode_jpeg, encode_png

NOWHERE = "file:///proc/no-such-folder/artifacts"
"""A store that cannot be opened, let alone read."""


class Lamp:
    """A device whose map is the picture in grey, in half the size; it fails on what is very bright."""

    batch_size = 3

    def load(self) -> None:
        pass

    def maps(self, images: Any) -> list[Any]:
        if any(image.mean() > 200 for image in images):
            raise ImageFailed("The picture blinds the lamp.", "Look away.")
        return [image[::2, ::2].mean(axis=2).astype(np.uint8) for image in images]


class LampRuntime(Runtime):
    """A process whose me stage has the lamp."""

    def runner(self, stage: Stage, recipe: Recipe) -> Any:
        return DeviceMasks(Lamp()) if stage == Stage.ME else super().runner(stage, recipe)


def spec(pixels: str, size: tuple[int, int] = (0, 0), **options: Any) -> ModelSpec:
    route = Route(device="lamp", firmware="1", pixels=pixels, width=size[0], height=size[1])
    return ModelSpec(name="lamp", version="lamp-1", options=options, route=route)


def stored(store: Artifacts, device: ModelSpec, frames: list[Any]) -> SegmentResult:
    """A segment as the mask stage leaves it: of each frame its pixels, or what is in its place."""
    other = ModelSpec(name="m", version="1")
    recipe = Recipe(pose_model=other, mask_model=other, device_model=device)
    (segment,) = a_plan(a_video(), 1, recipe=recipe)
    keepers = []
    for number, frame in enumerate(frames):
        mask_key = segment.artifact_key(Stage.MASK, number, "png")
        frame_key = segment.artifact_key(Stage.POSE, number, "jpg")
        changes = {"frame_key": frame_key, "mask_key": mask_key, "iou": None, "verdict": None, "value": None}
        keeper = a_keeper(number).model_copy(update=changes)
        if isinstance(frame, str) and frame == "decided":
            keepers.append(keeper.decide(Verdict.TEACHER_NONE, 0))
            continue
        keepers.append(keeper)
        pixels = frame if isinstance(frame, np.ndarray) else np.full((40, 30, 3), 90, np.uint8)
        store.put(mask_key, encode_png(np.where(pixels[:, :, 0] > 60, 255, 0).astype(np.uint8)))
        encoded = encode_jpeg(pixels)
        if not (isinstance(frame, str) and frame == "gone"):
            store.put(frame_key, encoded[: len(encoded) // 2] if isinstance(frame, str) else encoded)
    return SegmentResult(segment=segment, examined=len(frames), keepers=tuple(keepers))


def travelled(result: SegmentResult) -> SegmentResult:
    return SegmentResult.model_validate_json(result.model_dump_json())


def store_way(folder: Path, device: ModelSpec, frames: list[Any]) -> tuple[SegmentResult, dict[str, bytes]]:
    here = LampRuntime(load_settings(artifacts_url=folder.as_uri()))
    result = run_stages(here, (Stage.ME,), stored(here.artifacts, device, frames))
    return run_stages(here, (Stage.COMPARE,), travelled(result)), contents(here.artifacts)


def inline_way(folder: Path, device: ModelSpec, frames: list[Any]) -> tuple[SegmentResult, dict[str, bytes]]:
    here = LampRuntime(load_settings(artifacts_url=folder.as_uri()))
    away = LampRuntime(load_settings(artifacts_url=NOWHERE))
    sent = hand_on(here, stored(here.artifacts, device, frames), (Stage.ME,))
    drawn = run_stages(away, (Stage.ME,), travelled(sent))
    assert all(keeper.device_key is None for keeper in drawn.keepers)
    done = run_stages(here, (Stage.COMPARE,), travelled(drawn))
    again = run_stages(here, (Stage.COMPARE,), travelled(drawn))  # delivered twice
    assert again == done
    return done, contents(here.artifacts)


def contents(store: Artifacts) -> dict[str, bytes]:
    return {key: timeless(key, store.get(key)) for key in store.keys("")}


def timeless(key: str, data: bytes) -> bytes:
    """A stored result without how long it took, and without the route, which is no part of the work."""
    if not key.endswith(".json"):
        return data
    result = SegmentResult.model_validate_json(data)
    assert not result.pictures
    recipe = result.segment.recipe
    plain = recipe.model_copy(update={"device_model": recipe.device_model.model_copy(update={"route": None})})
    segment = result.segment.model_copy(update={"recipe": plain})
    return result.model_copy(update={"seconds": {}, "segment": segment}).model_dump_json().encode()


def outcome(way: Callable[..., Any], *arguments: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        try:
            done, files = way(Path(folder), *arguments)
        except ArtifactMissing as error:
            return type(error)
        return done.keepers, done.funnel(), files


@st.composite
def pictures(draw: st.DrawFn) -> Any:
    """Noise of some brightness, of a size of its own."""
    height, width = draw(st.integers(2, 60)), draw(st.integers(2, 60))
    level, seed = draw(st.integers(0, 255)), draw(st.integers(0, 99))
    noise = np.random.default_rng(seed).integers(-60, 60, (height, width, 3))
    return np.clip(noise + level, 0, 255).astype(np.uint8)


FRAMES = st.lists(pictures() | st.sampled_from(["gone", "damaged", "decided"]), max_size=6)
SIZES = st.just((0, 0)) | st.tuples(st.integers(1, 50), st.integers(1, 50))
OPTIONS = st.fixed_dictionaries(
    {}, optional={"frames": st.sampled_from(["png", "jpeg"]), "resize": st.sampled_from(["area", "linear"])}
)


def test_the_store_that_the_device_is_given_cannot_be_opened() -> None:
    with pytest.raises(SettingsError):
        _ = Runtime(load_settings(artifacts_url=NOWHERE)).artifacts


@settings(max_examples=40)
@given(frames=FRAMES, size=SIZES, options=OPTIONS)
def test_both_ways_leave_the_same_bytes(frames: list[Any], size: tuple[int, int], options: Any) -> None:
    by_store = outcome(store_way, spec("store", size, **options), frames)
    by_message = outcome(inline_way, spec("inline", size, **options), frames)
    assert by_message == by_store


def bright(count: int) -> list[Any]:
    return [np.full((40, 30, 3), 100 + number, np.uint8) for number in range(count)]


@pytest.fixture
def here(tmp_path: Path) -> Runtime:
    return LampRuntime(load_settings(artifacts_url=tmp_path.as_uri()))


@pytest.fixture
def away() -> Runtime:
    return LampRuntime(load_settings(artifacts_url=NOWHERE))


def test_too_many_bytes_for_one_message_are_refused_by_number(tmp_path: Path) -> None:
    here = LampRuntime(load_settings(artifacts_url=tmp_path.as_uri(), inline_max_bytes=1024))
    with pytest.raises(inline.InlineTooLarge, match=r"lamp take \d+ bytes, and a message may have 1024"):
        hand_on(here, stored(here.artifacts, spec("inline"), bright(9)), (Stage.ME,))


def test_a_device_that_has_seen_a_segment_is_not_shown_it_again(here: Runtime, away: Runtime) -> None:
    result = stored(here.artifacts, spec("inline"), bright(2))
    drawn = run_stages(away, (Stage.ME,), hand_on(here, result, (Stage.ME,)))
    run_stages(here, (Stage.COMPARE,), drawn)
    again = hand_on(here, result, (Stage.ME,))
    assert not again.pictures
    assert [bool(keeper.device_key) for keeper in again.keepers] == [True, True]
    assert run_stages(away, (Stage.ME,), again) == again  # a device that is sent it all the same


def test_only_a_device_alone_is_sent_pictures(here: Runtime) -> None:
    result = stored(here.artifacts, spec("inline"), bright(2))
    groups = [group for group in all_groups() if group != (Stage.ME,)]
    assert len(groups) == 9
    assert all(hand_on(here, result, group) is result for group in groups)
    by_store = stored(here.artifacts, spec("store"), bright(2))
    assert hand_on(here, by_store, (Stage.ME,)) is by_store


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.url


def sending(*names: str) -> Any:
    """As much of Celery's task as is asked for: what comes behind it, the next one last."""
    return SimpleNamespace(
        request=SimpleNamespace(chain=[{"task": f"hardpose.{n}"} for n in reversed(names)])
    )


@pytest.mark.parametrize(
    ("frames", "pixels", "passed_over"),
    [
        (bright(2), "inline", False),
        (["decided", "decided"], "inline", True),  # nothing is open
        ([], "inline", True),  # nothing was kept
        (["decided"], "store", False),  # as it always was
    ],
)
def test_a_device_is_passed_over_that_has_nothing_to_draw(
    frames: list[Any], pixels: str, passed_over: bool, broker: str, tmp_path: Path
) -> None:
    here = LampRuntime(
        load_settings(artifacts_url=tmp_path.as_uri(), broker_url=broker, namespace=f"{pixels}-{len(frames)}")
    )
    task, result = sending("me", "compare"), stored(here.artifacts, spec(pixels), frames)
    handed = ready_to_send(task, here, result)
    assert [each["task"] for each in task.request.chain] == ["hardpose.compare", "hardpose.me"][
        : 2 - passed_over
    ]
    assert len(handed.pictures) == (len(frames) if pixels == "inline" and not passed_over else 0)
    if passed_over:
        assert run_stages(here, (Stage.COMPARE,), handed).funnel().examined == len(frames)
        assert here.control.progress("job")[Stage.ME] >= 1  # it is not waited for


def test_a_device_without_a_store_clears_none_of_an_erased_video(broker: str, here: Runtime) -> None:
    result = stored(here.artifacts, spec("inline"), bright(1))
    away = LampRuntime(load_settings(artifacts_url=NOWHERE, broker_url=broker, namespace="erased"))
    away.control.void_tickets({result.segment.key: Voided(erased=CHAIN).on("9")})
    with pytest.raises(MessageVoid, match="erased"):
        check_start(away, result.segment, (Stage.ME,))
    with pytest.raises(SettingsError):  # any other worker clears away what it may have left
        check_start(away, result.segment, (Stage.COMPARE,))


def test_nobody_is_shown_the_pictures(here: Runtime) -> None:
    sent = hand_on(here, stored(here.artifacts, spec("inline"), bright(2)), (Stage.ME,))
    assert len(sent.pictures) == 2
    assert sent.pictures[0].data[:20] not in repr(Handed(sent))


# --- what comes back wrong ----------------------------------------------------------------------


def answered(here: Runtime, away: Runtime, count: int = 3) -> SegmentResult:
    sent = hand_on(here, stored(here.artifacts, spec("inline"), bright(count)), (Stage.ME,))
    drawn = run_stages(away, (Stage.ME,), sent)
    assert len(drawn.pictures) == count
    return drawn


def first(
    change: Callable[[InlinePicture], InlinePicture | None],
) -> Callable[[SegmentResult], SegmentResult]:
    def changed(result: SegmentResult) -> SegmentResult:
        new = change(result.pictures[0])
        kept = result.pictures[1:] if new is None else (new, *result.pictures[1:])
        return result.model_copy(update={"pictures": kept})

    return changed


def data(new: Callable[[str], str]) -> Callable[[InlinePicture], InlinePicture]:
    return lambda picture: picture.model_copy(update={"data": new(picture.data)})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda picture: None, "device_nothing_returned"),  # a map got lost
        (data(lambda text: text[: len(text) // 8 * 4]), "device_unreadable_answer"),  # a PNG that is cut off
        (data(lambda text: "?" + text), "device_unreadable_answer"),  # no base64
        (data(lambda text: "AAAA"), "device_unreadable_answer"),  # no picture
        (data(lambda text: ""), "device_unreadable_answer"),  # nothing
    ],
)
def test_a_bad_answer_costs_its_frame(change: Any, fault: str, here: Runtime, away: Runtime) -> None:
    done = run_stages(here, (Stage.COMPARE,), first(change)(answered(here, away)))
    lost, *others = done.keepers
    assert (lost.verdict, lost.fault, lost.iou) == (Verdict.FAILED, fault, None)
    assert [keeper.iou is not None and not keeper.fault for keeper in others] == [True, True]
    assert done.funnel().examined == 3


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            lambda r: r.model_copy(update={"pictures": ()}),
            inline.PicturesMissing,
        ),  # no answers
        (lambda r: r.model_copy(update={"pictures": r.pictures * 2}), inline.PicturesUnknown),  # two of each
        (first(lambda p: p.model_copy(update={"time_ms": 77})), inline.PicturesUnknown),  # of no frame
    ],
)
def test_an_answer_that_is_none_of_this_segment_is_no_verdict(
    change: Any, error: type[Exception], here: Runtime, away: Runtime
) -> None:
    with pytest.raises(error):
        run_stages(here, (Stage.COMPARE,), change(answered(here, away)))


def test_a_device_that_is_sent_no_pictures_says_so(here: Runtime, away: Runtime) -> None:
    with pytest.raises(inline.PicturesMissing, match="3 of its 3 frames"):
        run_stages(away, (Stage.ME,), stored(here.artifacts, spec("inline"), bright(3)))


# --- placement ----------------------------------------------------------------------------------


def test_an_inline_device_shares_its_process_with_no_other_stage() -> None:
    other = ModelSpec(name="m", version="1")
    recipe = Recipe(pose_model=other, mask_model=other, device_model=spec("inline"))
    Placement.parse("pose+mask | me | compare").check(recipe)
    for text in ("pose+mask+me | compare", "pose | mask | me+compare", "+".join(CHAIN)):
        with pytest.raises(SettingsError, match="Part me from the others"):
            Placement.parse(text).check(recipe)


def test_the_group_of_a_task_is_known_by_its_name() -> None:
    names = {f"hardpose.{'+'.join(group)}": group for group in all_groups()}
    assert len(names) == 10
    assert {name: group_of_task(name) for name in names} == names
    assert group_of_task("hardpose.replay") is None
