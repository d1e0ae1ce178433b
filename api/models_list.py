"""``hardpose models list``: every installed model, and what it would take to use it."""

import json
from dataclasses import asdict, dataclass

import typer

from api.models_find import InstalledModel, all_models, command_line
from api.printable import printable
from broker.errors import HardposeError
from broker.settings import Settings
from workers.weights import WeightsStore

FILE_ARGUMENT = "FILE"
"""Stands in a command for what only the user knows."""


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        name: entry point name.
        stage: ``pose``, ``mask`` or ``me``.
        in_use: the configured recipe names it.
        state: ``here``, ``to_fetch``, ``to_bring``, ``none_needed`` or ``unusable``.
        detail: the state in words.
        remedy: the command, or what to install; empty when nothing is to be done.
        version: of the weights that a new recipe uses, or of the model; empty when unknown.
        licence: of the weights.
        untried: what of it was never run by the makers of hardpose; empty when nothing is known to be.
    """

    name: str
    stage: str
    in_use: bool
    state: str
    detail: str
    remedy: str = ""
    version: str = ""
    licence: str = ""
    untried: str = ""


def model_rows(settings: Settings) -> list[Row]:
    """Every installed model of the three groups. One that cannot be imported is a row like the others."""
    store = WeightsStore(settings.weights_dir)
    return [row_of(model, store) for model in all_models(settings)]


def row_of(model: InstalledModel, store: WeightsStore) -> Row:
    """The row of one model; asks neither the network nor its weights' contents."""
    try:
        state, detail, remedy = _state(model, store)
        card, newest = model.card, model.history[-1] if model.history else None
        return Row(
            model.name, model.stage.value, model.in_use, state, detail, remedy,
            version=newest.version if newest else model.spec.version,
            licence=card.licence if card else model.spec.licence,
            untried=card.untried if card else str(getattr(model.kind, "untried", "")),
        )  # fmt: skip
    except HardposeError as error:
        return Row(model.name, model.stage.value, model.in_use, "unusable", error.cause, error.remedy)


def bring_command(model: InstalledModel) -> str:
    """The command that brings the weights of ``model``."""
    accept = ["--accept-licence"] if model.card and model.card.must_accept else []
    return command_line("models", "add", model.name, "--from", FILE_ARGUMENT, *accept)


def _state(model: InstalledModel, store: WeightsStore) -> tuple[str, str, str]:
    refs = model.weights
    missing = [ref for ref in refs if store.cached(ref) is None]
    if model.card is not None and (missing or not refs):
        return "to_bring", "you bring its weights", bring_command(model)
    if missing:
        size = sum(ref.size for ref in missing)
        return "to_fetch", f"its weights ({size:,} bytes) are fetched when it is first used", ""
    if not refs:
        return "none_needed", "it takes no weights from hardpose", ""
    return "here", "its weights are here", ""


def print_rows(rows: list[Row], as_json: bool) -> None:
    """A block of lines for each model, those of a stage together."""
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows]))
        return
    for row in rows:
        used = "  (in use)" if row.in_use else ""
        licence = f"; licence {row.licence}" if row.licence else ""
        lines = [f"{row.stage:5} {row.name} {row.version}".rstrip() + used, f"      {row.detail}{licence}"]
        lines += [f"      -> {row.remedy}"] if row.remedy else []
        lines += [f"      never tried: {row.untried}"] if row.untried else []
        typer.echo("\n".join(map(printable, lines)))
    typer.echo(
        "`hardpose models show NAME` says where a model comes from, its options, and how to obtain it."
    )
