"""``hardpose models export``: a model's network as an ONNX file that runs without hardpose."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from api.models_find import model_to_bring
from api.options import FileThere
from api.printable import printable
from broker.errors import SettingsError, WeightsError
from broker.settings import Settings
from workers.downloads.files import publish, room_needed
from workers.weights import WeightsStore

SUFFIX = ".onnx"


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        model: entry point name.
        file: its path.
        size: bytes.
        licence: of the weights in it.
        terms: what that asks of whoever has the file.
    """

    model: str
    file: str
    size: int
    licence: str
    terms: str


def export_model(settings: Settings, name: str, to: Path, precision: str | None, force: bool) -> Exported:
    """Writes the network of the model ``name`` to ``to``, whole or not at all.

    Raises:
        NotFound: no such model.
        SettingsError: it has no weights of the user's, no such precision, or ``to`` cannot be such a file.
        FileThere: ``to`` is there, and ``force`` was not given.
        WeightsError: its weights are not here, or damaged.
        MissingDependency: ``onnx`` or what reads the weights is not installed.
        DiskFull: no room for it.
    """
    model, taker = model_to_bring(settings, name)
    _check_target(to, force)
    options = model.configured({} if precision is None else {"precision": precision}).options
    if not model.history:
        raise WeightsError(
            f"The model {name} has no weights on this machine.",
            f"Bring them with `hardpose models add {name} --from FILE`.",
        )
    path = WeightsStore(settings.weights_dir).path(model.history[-1].ref)
    part = to.with_name(to.name + ".part")
    try:
        with room_needed(to.absolute().parent):
            taker.export(path, part, options)
            publish(part, to)
    finally:
        part.unlink(missing_ok=True)
    return Exported(name, str(to), to.stat().st_size, taker.card.licence, taker.card.terms)


def print_exported(exported: Exported, as_json: bool) -> None:
    """Where the file is, and under which licence it stands."""
    if as_json:
        typer.echo(json.dumps(asdict(exported)))
        return
    typer.echo(printable(f"wrote {exported.file} ({exported.size:,} bytes)"))
    typer.echo(printable(f"Its weights are under the licence {exported.licence}: {exported.terms}"))


def _check_target(to: Path, force: bool) -> None:
    if to.suffix.lower() != SUFFIX:
        raise SettingsError(f"The file {to} does not end in {SUFFIX}.", f"Name it for example model{SUFFIX}.")
    if to.is_dir() or not to.absolute().parent.is_dir():
        raise SettingsError(
            f"{to} cannot be written: its folder is not there, or it is a folder itself.",
            "Make the folder first.",
        )
    if to.exists() and not force:
        raise FileThere(f"The file {to} is there already.", "Give --force to replace it, or another name.")
