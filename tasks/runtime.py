"""What a process needs to do its stages: settings, stores, and models, each made when first asked for."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from broker.artifacts import Artifacts
from broker.control import Control
from broker.reach import ask_broker
from broker.recipe import CHAIN, ModelSpec, Recipe, Stage, canonical_hash
from broker.settings import Settings, load_settings
from tasks.device_names import configured_device
from tasks.full_body import require_points
from tasks.placement import Placement
from tasks.stage import StageRunner
from workers.compute import Compute
from workers.weights import WeightsStore

if TYPE_CHECKING:
    from broker.catalog import Catalog
    from broker.presence import WorkerCard
    from workers.device_turn import Turn
    from workers.devices.description import DeviceDescription

log = logging.getLogger(__name__)

WITH_MODEL = (Stage.POSE, Stage.MASK, Stage.ME)


class Runtime:
    """One per process. Models stay loaded from one segment to the next."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._runners: dict[tuple[Stage, str], StageRunner] = {}
        self.device_turn: Turn | None = None
        """Where several processes drive the described device."""
        self.card: WorkerCard | None = None
        """Of the worker that this process belongs to, as it was shown last; None: of none."""
        self.not_loaded: Exception | None = None
        """What ``loading`` has raised last, until somebody has dealt with it."""
        self.unable: set[Stage] = set()
        """Those for which the last attempt to load something has failed."""

    @cached_property
    def artifacts(self) -> Artifacts:
        """The artifact store."""
        return Artifacts.of(self.settings)

    @cached_property
    def catalog(self) -> "Catalog":
        """The catalog, migrated to this release. Only download and compare have the packages for it."""
        from broker.catalog import Catalog

        catalog = Catalog(self.settings.catalog)
        catalog.migrate()
        return catalog

    @cached_property
    def control(self) -> Control:
        """The shared state in Redis."""
        return Control.of(self.settings)

    def ask_broker(self) -> None:
        """Asks the broker and the shared state for a sign of life.

        Raises:
            BrokerUnavailable: one of them gives none.
        """
        ask_broker(self.settings, self.control)

    @cached_property
    def weights(self) -> WeightsStore:
        """The store of weights on this machine."""
        return WeightsStore(self.settings.weights_dir, self.settings.allow_networks)

    @cached_property
    def placement(self) -> Placement:
        """Which stages share a queue."""
        return Placement.parse(self.settings.placement)

    @cached_property
    def described(self) -> "DeviceDescription | None":
        """The device that this worker drives, and no other; None: it emulates devices.

        Raises:
            DeviceMisdescribed: its page is wrong.
        """
        if self.settings.device is None:
            return None
        from workers.devices.description import load_description

        return load_description(self.settings.device)

    def recipe(self, device: ModelSpec | None = None) -> Recipe:
        """The recipe that the settings describe.

        Args:
            device: in place of the one that the settings name.

        Raises:
            NotFound, MissingDependency, SettingsError: a model or one of its options cannot be used.
            WeightsError: the user has to bring a model's weights first.
        """
        from workers.models import POSE, answers

        chosen = self.settings
        require_points(chosen.pose_model, answers(POSE, chosen.pose_model), chosen.rule)
        recipe = Recipe(
            sampling=chosen.sampling,
            rule=chosen.rule,
            duplicates=chosen.duplicates,
            teacher=chosen.teacher,
            comparison=chosen.comparison,
            pose_model=self._checked(Stage.POSE),
            mask_model=self._checked(Stage.MASK),
            device_model=device or self._checked(Stage.ME),
        )
        self.placement.check(recipe)
        return recipe

    def _checked(self, stage: Stage) -> ModelSpec:
        """The configured model of ``stage``: what no worker could open is refused here, not by each video."""
        spec = self._configured(stage)
        own = spec.route is not None and (Stage.ME,) in self.placement.groups
        if not own:  # else its own worker has opened it, and has tested it besides
            self._open(stage, spec)
        return spec

    def _configured(self, stage: Stage) -> ModelSpec:
        from workers.models import mask_spec, pose_spec

        if stage == Stage.ME and self.described is not None:
            return self.described.spec
        if stage == Stage.ME:
            return configured_device(self.settings, lambda: self.control)
        return {Stage.POSE: pose_spec, Stage.MASK: mask_spec}[stage](self.settings)

    def models(self, stages: tuple[Stage, ...]) -> dict[Stage, ModelSpec]:
        """The configured models of those of ``stages`` that have one."""
        return {stage: self._configured(stage) for stage in WITH_MODEL if stage in stages}

    @contextmanager
    def loading(self, *stages: Stage) -> Iterator[None]:
        """What is raised inside is about this process or a recipe, and not about a segment of ``stages``."""
        try:
            yield
        except Exception as error:
            self.not_loaded = error
            self.unable.update(stages)
            raise

    def has_loaded(self, stages: tuple[Stage, ...]) -> bool:
        """Whether the stages of the chain among ``stages`` are loaded as this process is configured."""
        chained = [stage for stage in stages if stage in CHAIN]
        try:
            return all(_key(stage, self._own(stage)) in self._runners for stage in chained)
        except Exception as error:  # noqa: BLE001 - a stranger's package, and the answer is no
            log.info("the configured model is not known: %s", error)
            return False

    def runner(self, stage: Stage, recipe: Recipe) -> StageRunner:
        """The loaded stage for ``recipe``; the same model is loaded once."""
        return self._loaded(stage, _model_of(stage, recipe))

    def _loaded(self, stage: Stage, spec: ModelSpec | None) -> StageRunner:
        key = _key(stage, spec)
        if key not in self._runners:
            with self.loading(stage):
                runner = self._build(stage, spec)
                runner.load()
            self._runners[key] = runner
        self.unable.discard(stage)
        return self._runners[key]

    def _open(self, stage: Stage, spec: ModelSpec) -> Any:
        from workers.models import open_mask, open_pose

        compute = Compute.of(self.settings, stage)
        if stage == Stage.ME:
            from tasks.devices_here import open_here

            return open_here(spec, self.described, self.weights, compute)
        return {Stage.POSE: open_pose, Stage.MASK: open_mask}[stage](spec, self.weights, compute)

    def _build(self, stage: Stage, spec: ModelSpec | None) -> StageRunner:
        # Imported here, so that a process loads the libraries of its own stages and no others.
        if spec is None:
            from tasks.compare import Compare

            return Compare()
        model = self._open(stage, spec)
        if stage == Stage.POSE:
            from tasks.pose_filter import PoseFilter

            return PoseFilter(model, self.settings.threads)
        if stage == Stage.MASK:
            from tasks.mask_generation import MaskGeneration

            return MaskGeneration(model)
        from tasks.device_masks import DeviceMasks

        return DeviceMasks(model, self.described, self.device_turn)

    def load(self, stages: tuple[Stage, ...]) -> None:
        """Loads what the configured recipe needs for ``stages`` of the chain, libraries and models."""
        for stage in stages:
            # Not the whole recipe: the weights of the other stages may be on other machines only.
            with self.loading(stage):
                own = self._own(stage)
            self._loaded(stage, own)

    def _own(self, stage: Stage) -> ModelSpec | None:
        return self._configured(stage) if stage != Stage.COMPARE else None


def _key(stage: Stage, spec: ModelSpec | None) -> tuple[Stage, str]:
    """The identity: one worker may have the bytes from elsewhere than the recipe says."""
    return (stage, canonical_hash(spec.identity()) if spec is not None else "")


def _model_of(stage: Stage, recipe: Recipe) -> ModelSpec | None:
    models = {Stage.POSE: recipe.pose_model, Stage.MASK: recipe.mask_model, Stage.ME: recipe.device_model}
    return models.get(stage)


@cache
def process_runtime() -> Runtime:
    """The runtime of this process."""
    return Runtime(load_settings())
