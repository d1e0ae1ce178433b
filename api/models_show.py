"""``hardpose models show NAME``: everything that is known of a model."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import typer

from api.models_find import InstalledModel, models_named, option_variables
from api.models_list import row_of
from api.printable import printable
from broker.recipe import WeightsRef
from broker.settings import Settings
from workers.weights import WeightsStore


def print_models_named(settings: Settings, name: str, as_json: bool) -> None:
    """Prints all models of that name: one name may serve several stages.

    Raises:
        NotFound: there is none.
        MissingDependency, ModelBroken: its class cannot be imported.
    """
    store = WeightsStore(settings.weights_dir)
    told = [describe(model, store) for model in models_named(settings, name)]
    if as_json:
        typer.echo(json.dumps(told))
        return
    for one in told:
        typer.echo("\n".join(printable(line) for line in _lines(one)))


def describe(model: InstalledModel, store: WeightsStore) -> dict[str, Any]:
    """All that is known of ``model``, as JSON holds it."""
    row, card, variables = row_of(model, store), model.card, option_variables(model)
    configured = model.configured().options
    options = [
        {"name": name, "default": default, "configured": configured[name], "variable": variables[name]}
        for name, default in model.spec.options.items()
    ]
    return {
        **asdict(row),
        "setting": model.setting,
        "weights": [_weights(ref, store) for ref in model.weights],
        "card": asdict(card) if card is not None else None,
        "options": options,
        "history": [_added(asdict(entry)) for entry in model.history],
    }


def _weights(ref: WeightsRef, store: WeightsStore) -> dict[str, Any]:
    path = store.cached(ref)
    return {**ref.model_dump(), "path": str(path) if path else None}


def _added(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "ref": entry["ref"].model_dump()}


def _lines(told: dict[str, Any]) -> Iterator[str]:
    used = "in use" if told["in_use"] else f"not in use; {told['setting']}={told['name']} puts it in use"
    yield f"{told['stage']}: {told['name']} {told['version']} ({used})"
    yield f"  {told['detail']}"
    if told["remedy"]:
        yield f"  -> {told['remedy']}"
    if told["card"] is not None:
        yield from _card_lines(told["card"])
    for weights in told["weights"]:
        yield f"  weights      {weights['file']}, {weights['size']:,} bytes, licence {weights['licence']}"
        yield f"    sha256     {weights['sha256']}"
        yield f"    source     {weights['source']}"
        yield f"    here       {weights['path'] or 'no'}"
    yield from _option_lines(told["options"])
    for entry in told["history"]:
        known = "official" if entry["official"] else "custom"
        accepted = f", licence accepted {entry['accepted_at']}" if entry["accepted_at"] else ""
        what = f"{entry['version']} ({known}) from {entry['given_from']}"
        yield f"  added        {entry['added_at']} {what}{accepted}"


def _card_lines(card: dict[str, Any]) -> Iterator[str]:
    yield f"  network      {card['title']}"
    yield f"  licence      {card['licence']}  {card['licence_url']}"
    yield f"  terms        {card['terms']}"
    yield f"  citation     {card['citation']}"
    yield f"  obtain       {card['obtain']}"
    for file in card["official"]:
        md5 = f"  MD5 {file['md5']}" if file["md5"] else ""
        yield f"  official     {file['file']}  {file['url']}{md5}"
    yield f"  reads        {', '.join(card['suffixes'])}"
    if card["untried"]:
        yield f"  never tried  {card['untried']}"


def _option_lines(options: list[dict[str, Any]]) -> Iterator[str]:
    for option in options:
        default, value = json.dumps(option["default"]), json.dumps(option["configured"])
        now = f", now {value}" if option["configured"] != option["default"] else ""
        variable = f"  {option['variable']}" if option["variable"] else ""
        yield f"  option       {option['name']} (default {default}{now}){variable}"
