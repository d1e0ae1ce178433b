"""``hardpose models add``: weights that the user brings, checked, kept, converted once and remembered."""

import json
import logging
from dataclasses import asdict, dataclass

import typer

from api.models_find import InstalledModel, command_line, model_to_bring
from api.models_meter import meter
from api.printable import printable
from broker.errors import HardposeError, MissingDependency
from broker.settings import Settings
from workers.added import AddedWeights, now, remember
from workers.bringing import Brought, bring
from workers.cards import ModelCard
from workers.compute import Compute
from workers.downloads.links import refuse_password
from workers.errors import LicenceNotAccepted
from workers.weights import WeightsStore
from workers.weights_link import WeightsLinks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Added:
    """What ``add`` did.

    Attributes:
        model: entry point name.
        stage: that it serves.
        file: the weights' name.
        sha256: of the weights.
        size: bytes.
        version: under which recipes name them.
        official: whether they are known to be the authors' own.
        origin: that, in words.
        found: what the model found in them, in one line.
        loaded: the model was converted and loaded with them here.
        not_loaded_because: what was missing for that; empty if loaded.
        use_with: the setting that puts the model in use.
    """

    model: str
    stage: str
    file: str
    sha256: str
    size: int
    version: str
    official: bool
    origin: str
    found: str
    loaded: bool
    not_loaded_because: str
    use_with: str


def add_weights(settings: Settings, name: str, given: str, accepted: bool) -> Added:
    """Brings the file or link ``given`` as the weights that new recipes with the model ``name`` use.

    Nothing is kept of a file that is refused.

    Raises:
        NotFound: no such model, or no such file.
        BadLink: there is a password in the link.
        SettingsError: the model takes no weights, or its options cannot be used.
        LicenceNotAccepted: the licence has to be accepted first.
        HardposeError: see ``bring``; and what the model raises when it is loaded with the weights.
    """
    refuse_password(given)  # the other refusals repeat what was typed
    model, taker = model_to_bring(settings, name)
    model.configured()  # a wrong option would be met after minutes of copying
    _check_licence(name, taker.card, given, accepted)
    store = WeightsStore(settings.weights_dir, settings.allow_networks)
    with meter(f"{name}: reading") as moved:
        links = WeightsLinks(settings.allow_networks, settings.download_timeout_seconds, moved)
        brought = bring(store, name, taker.card, given, taker.check_weights, links)
    missing = _load_once(model, brought, store)
    accepted_at = now() if taker.card.must_accept else ""
    remember(
        settings.weights_dir,
        AddedWeights(
            name, brought.ref, brought.version, brought.official, brought.given_from, accepted_at, now()
        ),
    )
    return _told(model, taker.card, brought, missing)


def _check_licence(name: str, card: ModelCard, given: str, accepted: bool) -> None:
    if card.must_accept and not accepted:
        again = command_line("models", "add", name, "--from", given, "--accept-licence")
        raise LicenceNotAccepted(
            f"The weights of {name} are under the licence {card.licence} ({card.licence_url}). {card.terms}",
            f"Read it. If you accept it: {again}",
        )


def _load_once(model: InstalledModel, brought: Brought, store: WeightsStore) -> str:
    """Converts and loads the model here, so that no worker meets what is wrong; what was missing for it.

    Raises:
        HardposeError: it cannot be loaded; weights that were not here before are deleted again.
    """
    spec = model.configured().model_copy(update={"weights": (brought.ref,), "version": brought.version})
    typer.echo(f"{model.name}: loading it once, which converts the weights", err=True)
    try:
        model.kind(spec, store, Compute(providers=("cpu",))).load()
    except MissingDependency as error:
        log.info("not loaded: %s", error)
        return f"{error.cause} {error.remedy}"
    except HardposeError as error:
        if brought.fresh:
            store.forget(brought.ref)
        raise type(error)(error.cause, f"{error.remedy} The weights were not added.") from error
    return ""


def _origin(card: ModelCard, brought: Brought) -> str:
    if brought.official:
        return "the official file"
    if any(not file.md5 for file in card.official):
        return "kept as a custom file: its authors publish no checksum to know theirs by"
    return "a custom file, none of those that its authors publish"


def _told(model: InstalledModel, card: ModelCard, brought: Brought, missing: str) -> Added:
    ref = brought.ref
    return Added(
        model.name, model.stage.value, ref.file, ref.sha256, ref.size, brought.version, brought.official,
        _origin(card, brought), brought.found, not missing, missing, f"{model.setting}={model.name}",
    )  # fmt: skip


def print_added(added: Added, as_json: bool) -> None:
    """What was added, and the next step."""
    if as_json:
        typer.echo(json.dumps(asdict(added)))
        return
    lines = [
        f"{added.model}: {added.file}, {added.size:,} bytes, {added.origin}",
        f"  {added.found}",
        f"  version {added.version}, sha256 {added.sha256}",
    ]
    if added.not_loaded_because:
        lines.append(f"  checked, but not loaded here: {added.not_loaded_because}")
    lines.append(f"Use it with {added.use_with}")
    typer.echo("\n".join(map(printable, lines)))
