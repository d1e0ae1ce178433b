"""Recipes for orders, without a model in this process: from the workers, or from a process apart."""

import threading
import time
from collections.abc import Sequence
from typing import Any

from api.http.errors import UnknownModel
from api.recipe_of import recipe_apart, variables_of
from broker.errors import MissingDependency, NotFound
from broker.presence import Presence, WorkerCard
from broker.recipe import ModelSpec, Recipe, Stage
from broker.settings import Settings
from tasks.device_names import announced, is_announced_name
from tasks.full_body import require_points
from tasks.runtime import Runtime

KEPT_SECONDS = 300.0
"""For which a recipe that was found out is used again; weights that are added meanwhile come in after it."""
KEPT = 64
"""Recipes."""
CHOICES = {
    Stage.POSE: ("pose_model", "pose_options"),
    Stage.MASK: ("mask_model", "mask_options"),
    Stage.ME: ("device_model", "device_threshold"),
}
"""The settings that choose a stage's model."""


class Recipes:
    """Finds out recipes; remembers for a while those that took a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, Recipe]] = {}

    def of(self, runtime: Runtime, changes: dict[str, Any]) -> Recipe:
        """The recipe of the API's settings with ``changes``.

        What no change touches is what the workers have loaded, if all that are alive agree.

        Raises:
            UnknownModel: a model is not installed.
            SettingsError: an option, or a rule that the pose model can never meet.
            WeightsError, MissingDependency: the machine of the API has not what it takes to say.
            BrokerUnavailable: the workers cannot be asked.
        """
        settings = runtime.settings.model_copy(update=changes)
        device = _announced(runtime, settings.device_model)
        cards = Presence(runtime.control).alive()
        whole = _of_workers(settings, changes, cards, device, bare=False)
        if whole is not None:
            return whole
        try:
            return self._apart(settings, device)
        except MissingDependency:
            # The weights' sources on a card are without folders; whoever has loaded them needs no source.
            bare = _of_workers(settings, changes, cards, device, bare=True)
            if bare is None:
                raise
            return bare
        except NotFound as error:
            raise UnknownModel(error.cause, error.remedy) from error

    def _apart(self, settings: Settings, device: ModelSpec | None) -> Recipe:
        key = repr((sorted(variables_of(settings).items()), device and device.model_dump_json()))
        with self._lock:  # one process at a time, and none for what another has just asked
            made, recipe = self._kept.get(key, (-KEPT_SECONDS, None))
            if recipe is None or time.monotonic() - made > KEPT_SECONDS:
                recipe = recipe_apart(settings, device)
                while len(self._kept) >= KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[key] = (time.monotonic(), recipe)
        return recipe


def _announced(runtime: Runtime, name: str) -> ModelSpec | None:
    """The device that has announced itself as ``name``; None for the name of an entry point, and for a path.

    Raises:
        UnknownModel: it is none of the three.
    """
    if not is_announced_name(name):
        return None
    try:
        return announced(runtime.control, name)
    except NotFound as error:
        raise UnknownModel(error.cause, error.remedy) from error


def _of_workers(
    settings: Settings,
    changes: dict[str, Any],
    cards: Sequence[WorkerCard],
    device: ModelSpec | None,
    bare: bool,
) -> Recipe | None:
    """The recipe if the workers alone can tell: every stage has a worker, and no change asks for another.

    ``device`` is one that was asked for by its name: it may be switched off.
    """
    specs: dict[Stage, ModelSpec] = {}
    for stage, names in CHOICES.items():
        if stage == Stage.ME and device is not None:
            specs[stage] = device
            continue
        spec = _agreed(stage, cards, bare)
        if spec is None or any(name in changes for name in names):
            return None
        specs[stage] = spec
    points = next((card.points for card in cards if card.points), ())
    if not points:
        return None
    require_points(specs[Stage.POSE].name, frozenset(points), settings.rule)
    return Recipe(
        sampling=settings.sampling,
        rule=settings.rule,
        duplicates=settings.duplicates,
        teacher=settings.teacher,
        comparison=settings.comparison,
        pose_model=specs[Stage.POSE],
        mask_model=specs[Stage.MASK],
        device_model=specs[Stage.ME],
    )


def _agreed(stage: Stage, cards: Sequence[WorkerCard], bare: bool) -> ModelSpec | None:
    """The model of ``stage`` if all workers that serve it have loaded the same one.

    Devices that have workers of their own are asked for by name: they count where nothing else is there.
    """
    every = [card.models[stage] for card in cards if stage in card.models]
    loaded = [spec for spec in every if spec.route is None] or every
    if not loaded or any(spec.identity() != loaded[0].identity() for spec in loaded):
        return None
    sources = [ref.source for ref in loaded[0].weights]
    whole = all(source.startswith(("pypi:", "added:", "device:")) for source in sources)
    return loaded[0] if whole or bare else None
