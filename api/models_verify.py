"""``hardpose models verify``: every stored weights file hashed again."""

import json
from dataclasses import asdict, dataclass

import typer

from api.models_find import models_named
from api.printable import printable
from broker.settings import Settings
from workers.stored import StoredFile, stored_files
from workers.weights import WeightsStore


@dataclass(frozen=True)
class Check:
    """What became of one file.

    Attributes:
        file: its published name, or what was made from the weights.
        path: where it is.
        expected: its sha256.
        actual: its sha256 now, or ``missing``.
        remedy: what to do; empty when it is sound.
    """

    file: str
    path: str
    expected: str
    actual: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is what it has to be."""
        return self.actual == self.expected


def check_stored(settings: Settings, name: str | None) -> list[Check]:
    """Hashes what is stored, or what is stored for the model ``name``.

    Raises:
        NotFound: no model of that name is installed.
    """
    files = stored_files(WeightsStore(settings.weights_dir))
    if name is not None:
        hashes = {ref.sha256 for model in models_named(settings, name) for ref in model.all_weights}
        files = [file for file in files if file.weights in hashes]
    return [_check(file) for file in files]


def _check(file: StoredFile) -> Check:
    actual = file.hashed()
    remedy = "" if actual == file.expected else file.remedy
    return Check(file.file, str(file.path), file.expected, actual, remedy)


def print_checks(checks: list[Check], as_json: bool) -> None:
    """A line for each file, cause and remedy beneath what is damaged."""
    if as_json:
        typer.echo(json.dumps([{**asdict(check), "ok": check.ok} for check in checks]))
        return
    for check in checks:
        mark = "ok" if check.ok else "MISSING" if check.actual == "missing" else "DAMAGED"
        typer.echo(printable(f"{mark:8}{check.file}  {check.path}"))
        if not check.ok:
            typer.echo(printable(f"        sha256 {check.actual}, expected {check.expected}"))
            typer.echo(printable(f"        -> {check.remedy}"))
    bad = sum(not check.ok for check in checks)
    typer.echo(f"{len(checks)} files, {bad} damaged or missing" if checks else "nothing is stored yet")
