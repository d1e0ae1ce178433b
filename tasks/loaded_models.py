"""What a worker has loaded, as its card tells it: without what its machine keeps to itself."""

from collections.abc import Mapping

from broker.recipe import ModelSpec, Stage, WeightsRef
from tasks.counting import models_loaded
from tasks.dataset.text import public_source
from tasks.runtime import Runtime


def loaded_models(runtime: Runtime, stages: tuple[Stage, ...]) -> dict[Stage, ModelSpec]:
    """The configured models of those of ``stages`` that have one, once they are loaded; counts them."""
    configured = runtime.models(stages)
    models_loaded(configured)
    return {stage: public_spec(spec) for stage, spec in configured.items()}


def points_of(models: Mapping[Stage, ModelSpec]) -> tuple[int, ...]:
    """For whoever has to know whether the rule can be met, and has not the packages to ask the model."""
    if Stage.POSE not in models:
        return ()
    from workers.models import POSE, answers

    return tuple(sorted(answers(POSE, models[Stage.POSE].name)))


def public_spec(spec: ModelSpec) -> ModelSpec:
    """``spec`` without the folders, user names and secret parameters in the sources of its weights."""
    return spec.model_copy(update={"weights": tuple(_public(ref) for ref in spec.weights)})


def _public(ref: WeightsRef) -> WeightsRef:
    return ref.model_copy(update={"source": public_source(ref.source)}) if "://" in ref.source else ref
