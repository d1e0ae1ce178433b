"""The way of a replayed segment in every placement, and what its head hands on."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from kept_books import judged_again, kept_books, red_device
from samples_of_books import RECIPE, a_plan, a_video

from broker.app import create_app
from broker.errors import SettingsError
from broker.recipe import ModelSpec, Recipe, Route, Stage
from broker.settings import Settings, load_settings
from tasks.celery_replay import _next
from tasks.pipeline import segments_of
from tasks.placement import Placement
from tasks.replay_chain import MasksNotKept, replay_chain
from tasks.replaying import NothingToReplay, plan
from tasks.runtime import Runtime

OWN = ModelSpec(name="http", version="me-2", route=Route(device="me", firmware="2", queue="me.me"))


def way(settings: Settings, placement: str, device: ModelSpec = RECIPE.device_model) -> list[tuple[str, str]]:
    """The tasks of a segment's chain, each with its queue."""
    recipe = RECIPE.model_copy(update={"device_model": device})
    (segment,) = a_plan(a_video(), 1, recipe=recipe)
    canvas = replay_chain(create_app(settings), segment, Placement.parse(placement), 6)
    assert {each.options["priority"] for each in canvas.tasks} == {6}
    return [(each.task.removeprefix("hardpose."), each.options["queue"]) for each in canvas.tasks]


@pytest.mark.parametrize(
    ("placement", "wanted"),
    [
        ("pose | mask | me | compare", [("replay", "compare"), ("me", "me"), ("compare", "compare")]),
        ("pose+mask | me+compare", [("replay", "me+compare"), ("me+compare", "me+compare")]),
        # The earlier stages of a fused process are not run: its worker has the tasks of every group.
        ("pose | mask+me | compare", [("replay", "compare"), ("me", "mask+me"), ("compare", "compare")]),
        (
            "pose+mask+me+compare",
            [("replay", "pose+mask+me+compare"), ("me+compare", "pose+mask+me+compare")],
        ),
    ],
)
def test_me_and_compare_alone_in_every_placement(placement: str, wanted: list[tuple[str, str]]) -> None:
    assert way(load_settings(broker_url="redis://127.0.0.1:1/0"), placement) == wanted


def test_a_device_with_a_queue_of_its_own() -> None:
    settings = load_settings(broker_url="redis://127.0.0.1:1/0")
    assert way(settings, "pose | mask | me | compare", OWN)[1] == ("me", "me.me")
    with pytest.raises(SettingsError, match=r"me\.me"):
        way(settings, "pose | mask+me | compare", OWN)


def chained(*names: str) -> SimpleNamespace:
    """A task with the rest of its chain, the next one last, as Celery has it."""
    return SimpleNamespace(request=SimpleNamespace(chain=[{"task": f"hardpose.{name}"} for name in names]))


def test_what_the_head_of_a_replay_hands_on(tmp_path: Path) -> None:
    device = red_device(tmp_path)
    settings = load_settings(home=tmp_path / "state", device_model=str(device))
    settings.home.mkdir()
    recipe = kept_books(settings, 1, 10)
    here = Runtime(settings)
    weaker = recipe.device_model.model_copy(
        update={"options": {**recipe.device_model.options, "threshold": 0.2}}
    )
    new: Recipe = recipe.model_copy(update={"device_model": weaker})
    video = here.catalog.known_video("https:clip0")
    assert video is not None
    (segment,) = segments_of("again", video, new)
    task = chained("compare", "me")
    kept = _next(task, here, segment)
    assert (len(kept.open), len(task.request.chain), kept.seconds) == (10, 2, {})
    assert all(keeper.mask_key and not keeper.device_key for keeper in kept.keepers)
    judged_again(settings, new, 1)
    seen = _next(
        task, here, segment
    )  # this device has drawn them already, for another threshold of hard frames
    assert [each["task"] for each in task.request.chain] == ["hardpose.compare"]
    assert all(keeper.device_key for keeper in seen.keepers)
    here.artifacts.delete(kept.keepers[3].frame_key)
    here.artifacts.delete(segment.result_key(Stage.ME))
    with pytest.raises(MasksNotKept):
        _next(chained("compare", "me"), here, segment)
    with pytest.raises(NothingToReplay):
        plan(here, recipe.device_model, ["earlier"])
    here.catalog.dispose()
