"""``hardpose models``: what the configured recipe runs on, where it comes from, and under which licence."""

import json

import typer

from api.models_find import command_line
from api.models_list import FILE_ARGUMENT
from broker.recipe import ModelSpec, Stage, WeightsRef
from tasks.runtime import Runtime
from workers.weights import brought_for


def print_models(runtime: Runtime, fetch: bool, as_json: bool) -> None:
    """Lists the models of the configured recipe; with ``fetch``, downloads what is missing first.

    Raises:
        WeightsError: when weights cannot be fetched or are not what was pinned.
    """
    recipe = runtime.recipe()
    specs = {Stage.POSE: recipe.pose_model, Stage.MASK: recipe.mask_model, Stage.ME: recipe.device_model}
    if fetch:
        for spec in specs.values():
            for ref in spec.weights:
                runtime.weights.path(ref)
    if as_json:
        typer.echo(json.dumps({stage.value: _describe(runtime, spec) for stage, spec in specs.items()}))
        return
    for stage, spec in specs.items():
        typer.echo(f"{stage}: {spec.name} {spec.version}")
        for ref in spec.weights:
            typer.echo(f"    {ref.file}  {ref.size:,} bytes  {ref.licence}  {_where(runtime, ref)}")
            typer.echo(f"    sha256 {ref.sha256}")


def _describe(runtime: Runtime, spec: ModelSpec) -> dict[str, object]:
    weights = [{**ref.model_dump(), "here": _where(runtime, ref)} for ref in spec.weights]
    return {"name": spec.name, "version": spec.version, "options": spec.options, "weights": weights}


def _where(runtime: Runtime, ref: WeightsRef) -> str:
    path = runtime.weights.cached(ref)
    if path is not None:
        return str(path)
    if model := brought_for(ref.source):
        return f"not here ({command_line('models', 'add', model, '--from', FILE_ARGUMENT)})"
    return "not fetched (hardpose models --fetch)"
