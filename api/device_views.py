"""The devices of a system as they are shown: what the register, the queues and the books know, in one."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from api.device_wait import standing
from broker.backlog import Backlog
from broker.control import Control
from broker.device_books import JudgedDevice
from broker.device_register import DeviceRegister, DeviceUnit
from broker.queue_lengths import waiting_by_queue
from broker.recipe import ModelSpec
from broker.settings import Settings


@dataclass(frozen=True)
class SystemDevices:
    """What the broker knows of devices.

    Attributes:
        units: all that were ever heard of.
        waiting: segments in each device queue; empty where the broker is of a kind that is not asked here.
        held: segments that are held before their first stage, by device queue.
    """

    units: tuple[DeviceUnit, ...] = ()
    waiting: Mapping[str, int] | None = None
    held: Mapping[str, int] | None = None

    @classmethod
    def of(cls, settings: Settings, control: Control) -> "SystemDevices":
        """Asks the broker.

        Raises:
            BrokerUnavailable: it does not answer.
        """
        register = DeviceRegister(control)
        waiting = waiting_by_queue(settings, control, register.queues())
        return cls(tuple(register.units()), waiting, Backlog(control).counts())


@dataclass(frozen=True)
class KnownDevice:
    """One device with one firmware: its units, what waits for it, and what it was judged on.

    Attributes:
        name: of the product, or of the model of one that is emulated.
        firmware: the same, or the model's version.
        driver: entry point.
        queue: of its own worker; empty for one that is emulated.
        model: as recipes name it.
        units: of this firmware.
        waiting: segments in its queue, which others may share; None where that is not known.
        held: segments that are held before their first stage until there is room in that queue.
        judged: None while no recipe names it.
    """

    name: str
    firmware: str
    driver: str
    queue: str
    model: ModelSpec
    units: tuple[DeviceUnit, ...] = ()
    waiting: int | None = None
    held: int = 0
    judged: JudgedDevice | None = None

    @property
    def state(self) -> str:
        """Of its units together: a word of ``api.device_wait.CONDITIONS``, or ``unknown`` without any."""
        return standing(list(self.units))[0]

    @property
    def hard_share(self) -> float | None:
        """Of the frames that it was judged on; None without any."""
        return self.judged.hard / self.judged.frames if self.judged and self.judged.frames else None


def identity(model: ModelSpec) -> str:
    """The model without where it is and where its weights come from, which differs between machines."""
    return json.dumps(model.identity(), sort_keys=True)


def known_devices(
    judged: Sequence[JudgedDevice], system: SystemDevices, loaded: Iterable[ModelSpec] = ()
) -> list[KnownDevice]:
    """Every device of the register, of the books, and of ``loaded``, each once; by name, the oldest first.

    Args:
        judged: of the catalog.
        system: of the broker.
        loaded: models that live workers have loaded.
    """
    books = {identity(device.model): device for device in judged}
    units: dict[str, list[DeviceUnit]] = {}
    for unit in system.units:
        units.setdefault(identity(unit.spec), []).append(unit)
    models = {identity(model): model for model in loaded}
    models |= {name: device.model for name, device in books.items()}
    models |= {name: mine[-1].spec for name, mine in units.items()}  # the register knows the route best
    found = [_known(model, units.get(name, []), books.get(name), system) for name, model in models.items()]
    return sorted(found, key=lambda device: (device.name, _age(device), device.firmware))


def _known(
    model: ModelSpec, units: Sequence[DeviceUnit], judged: JudgedDevice | None, system: SystemDevices
) -> KnownDevice:
    route = model.route
    queue = route.queue if route else ""
    return KnownDevice(
        name=route.device if route else model.name,
        firmware=route.firmware if route else model.version,
        driver=model.name,
        queue=queue,
        model=model,
        units=tuple(units),
        waiting=(system.waiting or {}).get(queue),
        held=(system.held or {}).get(queue, 0),
        judged=judged,
    )


def _age(device: KnownDevice) -> float:
    return min((unit.spec_since for unit in device.units), default=0.0)
