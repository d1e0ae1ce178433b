"""The devices under test: those that workers have loaded now, and those that frames were judged on."""

import json

from fastapi import APIRouter
from pydantic import Field

from api.http.access import Role
from api.http.dependencies import Here, requires
from api.http.public import public_model
from api.http.shown import Shown
from broker.device_books import JudgedDevice
from broker.errors import BrokerUnavailable
from broker.presence import Presence, WorkerCard
from broker.recipe import ModelSpec, Stage
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


class Device(Shown):
    """A device: one model with its weights and options."""

    name: str
    version: str
    sha256: str
    """Of its weights."""
    licence: str
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
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
    """Whether the broker could be asked; without it no worker is shown."""


@router.get("/devices", summary="List devices")
def list_devices(here: Here) -> Devices:
    """The devices of the catalog's recipes, and those that live workers have loaded."""
    cards = _cards(here)
    found = [_device(judged, cards or []) for judged in _all(here.catalog.devices.judged(), cards or [])]
    return Devices(items=tuple(found), workers_known=cards is not None)


def _cards(here: Runtime) -> list[WorkerCard] | None:
    try:
        return Presence(here.control).alive()
    except BrokerUnavailable:  # said in the answer: the books can be read without a broker
        return None


def _all(judged: list[JudgedDevice], cards: list[WorkerCard]) -> list[JudgedDevice]:
    """Those that were judged, then those that are only loaded."""
    known = {_identity(device.model) for device in judged}
    loaded = {
        _identity(card.models[Stage.ME]): card.models[Stage.ME] for card in cards if Stage.ME in card.models
    }
    new = [loaded[name] for name in sorted(loaded) if name not in known]
    return [*judged, *(JudgedDevice(model=model, recipes=()) for model in new)]


def _device(judged: JudgedDevice, cards: list[WorkerCard]) -> Device:
    model, name = public_model(judged.model), _identity(judged.model)
    serving = [card for card in cards if Stage.ME in card.models and _identity(card.models[Stage.ME]) == name]
    return Device(
        name=model.name,
        version=model.version,
        sha256=model.sha256,
        licence=model.licence,
        options=model.options,
        recipes=judged.recipes,
        videos=judged.videos,
        frames=judged.frames,
        hard=judged.hard,
        workers=tuple(
            DeviceWorker(name=card.name, host=card.host, gpu=card.gpu, version=card.version, seen=card.seen)
            for card in serving
        ),
    )


def _identity(model: ModelSpec) -> str:
    """The model without where its weights come from, which differs from machine to machine."""
    return json.dumps(model.identity(), sort_keys=True)
