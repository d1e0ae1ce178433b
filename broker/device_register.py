"""Every device that was ever heard of, and its units: outlives their workers, the queues and a restart.

A device is a product, a unit one piece of it that has a worker of its own. What a unit says of itself is kept
until somebody forgets it: a device that is switched off for a week is still a device for which work may wait.
"""

import json
import logging
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from broker.connection import Connection
from broker.errors import HardposeError, NotFound
from broker.presence import ALIVE_SECONDS
from broker.recipe import Frozen, ModelSpec
from broker.register_scripts import ANNOUNCE, BEAT, FORGET, LEAVE, NOTE_QUEUES, READ, STATE
from broker.unit_state import UnitState as UnitState

log = logging.getLogger(__name__)


class UnknownDevice(NotFound):
    """No device of this name was ever heard of."""

    code = "unknown_device"


class DeviceAlive(HardposeError):
    """A device that is at work cannot be forgotten: it would be known again with its next beat."""

    code = "device_alive"


class DeviceUnit(Frozen):
    """One piece of a device: what its worker says of it, and when it was heard of."""

    device: str
    firmware: str
    driver: str
    """The entry point that drives it, such as ``litert`` or ``http``."""
    queue: str
    """That it takes its work from: ``me`` or ``me.<device>``."""
    pixels: str
    """``store`` or ``inline``."""
    host: str
    worker: str
    """As Flower shows it."""
    worker_key: str
    """Of its worker process (``broker.presence.worker_key``), which beats for it."""
    version: str
    """Of hardpose."""
    spec: ModelSpec
    """As recipes name it; no folder and no address of the device's machine is in it."""
    self_test_iou: float | None = None
    """On the known picture, when the worker started."""
    self_test_ms: float | None = None
    """That the device took for it."""
    # --- what the register adds, by the broker's clock, Unix time ---
    key: str = ""
    """``<device>@<host>:<n>``, the same after a restart."""
    state: UnitState = UnitState.READY
    since: float = 0.0
    """From when it is in this state."""
    first_seen: float = 0.0
    last_seen: float = 0.0
    spec_since: float = 0.0
    """When this model of this device was first announced, by any unit."""
    alive: bool = False
    """Heard of in the last ``broker.presence.ALIVE_SECONDS``, and not gone."""
    silent: float = 0.0
    """Seconds since it was last heard of."""


ADDED = frozenset({"key", "state", "since", "first_seen", "last_seen", "spec_since", "alive", "silent"})
"""The fields of a unit that the register adds."""


def unit_of(
    spec: ModelSpec, *, host: str, worker: str, worker_key: str, version: str, **more: Any
) -> DeviceUnit:
    """The unit of a worker that drives the device ``spec``, whose route says which it is.

    Args:
        spec: with a route.
        host: name of the worker's machine.
        worker: its name.
        worker_key: of its process.
        version: of hardpose.
        **more: ``self_test_iou``, ``self_test_ms``.
    """
    route = spec.route
    assert route is not None, "a device that has a worker of its own has a route"
    return DeviceUnit(
        device=route.device,
        firmware=route.firmware,
        driver=spec.name,
        queue=route.queue,
        pixels=route.pixels,
        host=host,
        worker=worker,
        worker_key=worker_key,
        version=version,
        spec=spec,
        **more,
    )


class DeviceRegister:
    """The devices of a system. Every method may raise BrokerUnavailable."""

    def __init__(self, control: Connection) -> None:
        self._control = control

    # --- what a device's worker says ---

    def announce(self, unit: DeviceUnit, state: UnitState = UnitState.READY) -> str:
        """Shows ``unit``, in place of one of the same worker, or of one of its host that is gone.

        Returns:
            The unit's key.
        """
        body = unit.model_dump_json(exclude=set(ADDED))
        identity = f"{unit.device} {json.dumps(unit.spec.identity(), sort_keys=True)}"
        prefix = f"{unit.device}@{unit.host}:"
        said = (prefix, unit.worker_key, body, identity, ALIVE_SECONDS, unit.queue, state.value)
        return str(self._run(ANNOUNCE, *said))

    def beat(self, worker_key: str) -> bool:
        """The unit's worker lives. False when it is not known (any more): it has to be announced (again)."""
        return bool(self._run(BEAT, worker_key))

    def state(self, worker_key: str, state: UnitState) -> None:
        """What the unit is at. Counts as a beat; an unknown worker changes nothing."""
        self._run(STATE, worker_key, state.value)

    def leave(self, worker_key: str) -> None:
        """The unit's worker is about to end; the unit stays known."""
        self._run(LEAVE, worker_key)

    # --- what others ask ---

    def units(self, name: str | None = None) -> list[DeviceUnit]:
        """All units, or those of the device ``name``, by device and key."""
        found = [_read(row) for row in self._rows()]
        units = [unit for unit in found if unit is not None and name in (None, unit.device)]
        return sorted(units, key=lambda unit: (unit.device, unit.key))

    def unit(self, worker_key: str) -> DeviceUnit | None:
        """The unit that this worker drives."""
        return next((unit for unit in self.units() if unit.worker_key == worker_key), None)

    def names(self) -> list[str]:
        """The devices that were ever announced and not forgotten, sorted."""
        return sorted({unit.device for unit in self.units()})

    def spec(self, name: str) -> ModelSpec:
        """The model of the device ``name``: its newest firmware.

        Of those that its units have, alive ones if there are any, the one whose first announcement is the
        latest. So a firmware that is taken back is taken back here.

        Raises:
            UnknownDevice: there is none; names those that there are.
        """
        units = self.units()
        mine = [unit for unit in units if unit.device == name]
        if not mine:
            raise unknown_device(name, sorted({unit.device for unit in units}))
        chosen = [unit for unit in mine if unit.alive] or mine
        return max(chosen, key=lambda unit: (unit.spec_since, unit.last_seen)).spec

    def queues(self) -> list[str]:
        """The queues of all devices that are known or that work was sent to, sorted."""
        return sorted(row["queue"] for row in self._rows() if "queue" in row)

    def note_queues(self, queues: Sequence[str]) -> None:
        """Work is sent to these queues: they are looked at, whether a device was heard of or not."""
        if queues:
            self._run(NOTE_QUEUES, *queues)

    def forget(self, name: str) -> int:
        """Forgets the units of the device that are not alive; returns how many.

        Raises:
            UnknownDevice: there is none of this name.
            DeviceAlive: all of them are alive.
        """
        rows = [row for row in self._rows() if row.get("key", "").partition("@")[0] == name]
        units = [unit for unit in map(_read, rows) if unit is not None]
        if not rows:
            raise unknown_device(name, self.names())
        # Also what another release has said, and nobody here can read.
        gone = sorted({row["key"] for row in rows} - {unit.key for unit in units if unit.alive})
        if not gone:
            raise DeviceAlive(
                f"All {len(units)} units of {name} are alive." if len(units) > 1 else f"{name} is alive.",
                "Stop its worker first; it would be known again with its next beat.",
            )
        self._run(FORGET, name, *gone)
        return len(gone)

    def _rows(self) -> list[dict[str, Any]]:
        """Every unit, as ``{"key", "body", "state", ...}``, and every noted queue, as ``{"queue"}``."""
        answer = self._run(READ, ALIVE_SECONDS) or []
        return [dict(zip(row[::2], row[1::2], strict=True)) for row in answer]

    def _run(self, script: str, *args: str | float) -> Any:
        with self._control.server() as server:
            return server.register_script(script)(keys=[self._control.key("devices")], args=list(args))


def unknown_device(name: str, known: Sequence[str]) -> UnknownDevice:
    """The error of a name that no device has."""
    others = f"The known ones are: {', '.join(known)}." if known else "None has announced itself yet."
    return UnknownDevice(
        f"There is no device {name!r}.",
        f"{others} A device is known once `hardpose worker me` has run on it.",
    )


def _read(row: dict[str, Any]) -> DeviceUnit | None:
    """The unit, or None for a queue, and for a unit of another release, which says more or less than ours."""
    if "body" not in row:
        return None
    try:
        said = _SAID.validate_json(row.pop("body"))
        return DeviceUnit.model_validate({**said, **row, "alive": row["alive"] == "1"})
    except HardposeError as error:
        why = error.cause
    except ValidationError as error:
        fields = dict.fromkeys(str(each["loc"][0]) for each in error.errors() if each["loc"])
        why = f"{', '.join(fields) or 'all of it'} cannot be read"
    log.warning("the unit %r of another release is not shown: %s", row["key"], why)
    return None


_SAID = TypeAdapter(dict[str, Any])
"""What a worker has said of its unit."""
