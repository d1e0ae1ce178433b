"""Which device this process drives: the described one alone, or any that can be emulated here."""

from pathlib import Path
from urllib.parse import urlsplit

from broker.recipe import ModelSpec, WeightsRef
from workers.compute import Compute
from workers.contracts import Device
from workers.devices.answers import REACHED
from workers.devices.description import DeviceDescription, load_description, open_described
from workers.devices.errors import DeviceElsewhere, DeviceMismatch
from workers.models import open_device
from workers.weights import WeightsStore


def open_here(
    spec: ModelSpec, description: DeviceDescription | None, weights: WeightsStore, compute: Compute
) -> Device:
    """The device that a segment's recipe names; loads and reaches nothing yet.

    Args:
        spec: as the recipe says.
        description: of the device that this worker drives; None for one that emulates devices.
        weights: of this machine.
        compute: what a model may use here.

    Raises:
        DeviceMismatch: it is not the described one.
        DeviceElsewhere: it is not described here and cannot be emulated.
        NotFound, MissingDependency, SettingsError: see ``workers.models.open_device``.
    """
    if description is None:
        _check_emulated(spec, weights)
        return open_device(spec, weights, compute)
    if spec.identity() != description.spec.identity():
        raise DeviceMismatch(
            f"The segment is for {named(spec)}, and this worker drives {named(description.spec)}.",
            f"Start a worker for it, or order the work anew for {description.name}: a new firmware or model "
            "is another device (`hardpose devices`).",
        )
    return open_described(description, compute, weights)


def named(spec: ModelSpec) -> str:
    """A device in words that tell it from others."""
    words = f"{spec.name} {spec.version}"
    return f"{words} (model {spec.sha256[:12]})" if spec.weights else words


def _check_emulated(spec: ModelSpec, weights: WeightsStore) -> None:
    kept = [ref for ref in spec.weights if _stays(ref) and not weights.cached(ref)]
    if spec.name not in REACHED and not kept and not spec.options.get("delegate"):
        return
    own = f" on its queue {spec.route.queue}" if spec.route is not None else ""
    raise DeviceElsewhere(
        f"{named(spec)} can only be driven by its own worker{own}, and this is another one.",
        "Start it where the device is: hardpose worker me --device me.toml. Workers that emulate devices "
        "must not serve a queue on which such work is: stop this one, or give the device a queue of its own.",
    )


def _stays(ref: WeightsRef) -> bool:
    """Whether the file never leaves its device."""
    return urlsplit(ref.source).scheme == "device"


def described_with_file(path: Path) -> ModelSpec:
    """The spec of a page on this machine, with its network as a file: local workers may emulate the device.

    Where the bytes come from is no part of the identity.

    Raises:
        DeviceMisdescribed: see ``load_description``.
    """
    description = load_description(path)
    if description.model is None:
        return description.spec
    source = description.model.resolve().as_uri()
    found = tuple(_from(ref, source) for ref in description.spec.weights)
    return description.spec.model_copy(update={"weights": found})


def _from(ref: WeightsRef, source: str) -> WeightsRef:
    return ref.model_copy(update={"source": source})
