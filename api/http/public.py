"""Videos and recipes as they may be shown: no secret of a link, no folder of a machine."""

from broker.messages import Failure, Video
from broker.recipe import ModelSpec, Recipe, WeightsRef
from tasks.dataset.text import public_source, public_text


def public_video(video: Video) -> Video:
    """The video, its source as ``tasks.dataset.text.public_source`` shows it."""
    return video.model_copy(update={"source": public_source(video.source)})


def public_failure(failure: Failure | None, *sources: str) -> Failure | None:
    """The failure, its words without the secrets of links; ``sources`` are those it is about."""
    if failure is None:
        return None
    shown = {name: public_text(getattr(failure, name), *sources) for name in ("cause", "remedy")}
    return failure.model_copy(update=shown)


def public_recipe(recipe: Recipe) -> Recipe:
    """The recipe; a model's file on some machine is named without its folder. Its id stays the same."""
    models = {
        name: public_model(getattr(recipe, name)) for name in ("pose_model", "mask_model", "device_model")
    }
    return recipe.model_copy(update=models)


def public_model(spec: ModelSpec) -> ModelSpec:
    """The model; its weights' sources as ``public_recipe`` shows them."""
    return spec.model_copy(update={"weights": tuple(_public_weights(ref) for ref in spec.weights)})


def _public_weights(ref: WeightsRef) -> WeightsRef:
    if not ref.source.startswith(("file:", "http:", "https:")):
        return ref
    return ref.model_copy(update={"source": public_source(ref.source)})
