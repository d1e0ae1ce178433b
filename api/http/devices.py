"""The devices under test: who they are, their units, what waits for them, and what they were judged on."""

from fastapi import APIRouter
from pydantic import Field

from api.device_views import KnownDevice, SystemDevices, identity, known_devices
from api.device_wait import condition
from api.http.access import Role
from api.http.dependencies import Here, requires
from api.http.public import public_model
from api.http.shown import Shown
from broker.device_register import DeviceUnit
from broker.errors import BrokerUnavailable
from broker.presence import Presence, WorkerCard
from broker.recipe import Stage
from tasks.runtime import Runtime

router = APIRouter(tags=["devices"], dependencies=[requires(Role.READ)])


class DeviceWorker(Shown):
    """A worker that has a device's model loaded, or drives the device."""

    name: str
    host: str
    gpu: str = ""
    version: str
    """Of hardpose."""
    seen: float
    """When it was last heard of, Unix time."""


class Unit(Shown):
    """One piece of a device that has a worker of its own; known also while it is switched off."""

    key: str
    """``DEVICE@HOST:NUMBER``, the same after a restart."""
    firmware: str
    host: str
    worker: str
    """As Flower shows it."""
    version: str
    """Of hardpose."""
    state: str
    """``at_work``, ``waiting_for_device`` (its worker lives, the device does not answer), ``silent`` (not
    heard of) or ``gone`` (its worker was stopped)."""
    alive: bool
    """Heard of in the last 30 seconds, and not gone."""
    since: float
    """When its worker last said something new of it, Unix time."""
    first_seen: float
    last_seen: float
    self_test_iou: float | None = None
    """On the known picture, when its worker started."""
    self_test_ms: float | None = None


class Device(Shown):
    """A device: one model with its weights and options. A new firmware is another one."""

    name: str
    """Of its driver."""
    version: str
    sha256: str
    """Of its weights."""
    licence: str
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    device: str
    """The name that orders may call it by, if it has announced itself; else its driver's."""
    firmware: str
    """As its description says; else its version."""
    queue: str | None = None
    """That its units take their work from; null for one that is emulated."""
    waiting: int | None = None
    """Segments in that queue, which other devices may share; null where that is not known."""
    held: int = 0
    """Segments that are held before their first stage, until there is room in that queue."""
    alive: bool = False
    """Whether a unit of it or a worker that emulates it was heard of in the last 30 seconds."""
    last_seen: float | None = None
    """The latest of its units, Unix time."""
    units: tuple[Unit, ...] = ()
    recipes: tuple[str, ...] = ()
    """Ids of the recipes that name it."""
    videos: int = 0
    frames: int = 0
    """Frames it was judged on: easy and hard ones."""
    hard: int = 0
    workers: tuple[DeviceWorker, ...] = ()
    """Those that serve it now."""


class Devices(Shown):
    """All devices that are known."""

    items: tuple[Device, ...]
    workers_known: bool
    """Whether the broker could be asked; without it no worker, no unit and no queue is shown."""


@router.get("/devices", summary="List devices")
def list_devices(here: Here) -> Devices:
    """Devices that recipes name, that have announced themselves, or that live workers have loaded."""
    cards, system = _live(here)
    loaded = [card.models[Stage.ME] for card in cards or [] if Stage.ME in card.models]
    found = known_devices(here.catalog.devices.judged(), system, loaded)
    return Devices(
        items=tuple(_device(known, cards or []) for known in found), workers_known=cards is not None
    )


def _live(here: Runtime) -> tuple[list[WorkerCard] | None, SystemDevices]:
    try:
        return Presence(here.control).alive(), SystemDevices.of(here.settings, here.control)
    except BrokerUnavailable:  # said in the answer: the books can be read without a broker
        return None, SystemDevices()


def _device(known: KnownDevice, cards: list[WorkerCard]) -> Device:
    model, judged, name = public_model(known.model), known.judged, identity(known.model)
    serving = [card for card in cards if Stage.ME in card.models and identity(card.models[Stage.ME]) == name]
    return Device(
        name=model.name,
        version=model.version,
        sha256=model.sha256,
        licence=model.licence,
        options=model.options,
        device=known.name,
        firmware=known.firmware,
        queue=known.queue or None,
        waiting=known.waiting,
        held=known.held,
        alive=bool(serving) or any(unit.alive for unit in known.units),
        last_seen=max((unit.last_seen for unit in known.units), default=None),
        units=tuple(map(_unit, known.units)),
        recipes=judged.recipes if judged else (),
        videos=judged.videos if judged else 0,
        frames=judged.frames if judged else 0,
        hard=judged.hard if judged else 0,
        workers=tuple(
            DeviceWorker(name=card.name, host=card.host, gpu=card.gpu, version=card.version, seen=card.seen)
            for card in serving
        ),
    )


def _unit(unit: DeviceUnit) -> Unit:
    same = {name: getattr(unit, name) for name in Unit.model_fields if name != "state"}
    return Unit(state=condition(unit), **same)
