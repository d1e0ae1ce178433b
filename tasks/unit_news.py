"""What a worker tells others of its device: that it is there, that it does not answer, and that it does."""

import logging
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from broker.control import Control
from broker.device_register import DeviceRegister, UnitState, unit_of
from broker.errors import BrokerUnavailable
from broker.presence import WorkerCard
from broker.recipe import ModelSpec

log = logging.getLogger(__name__)


REPEAT_SECONDS = 10.0
"""After them it is told again: another process of the worker may have told otherwise meanwhile."""


class UnitNews:
    """Tells what is new, and at times what is not; nothing of a worker without a device of its own."""

    def __init__(self) -> None:
        self._register: DeviceRegister | None = None
        self._worker_key = ""
        self._told: UnitState | None = None
        self._told_at = 0.0

    def begin(
        self, control: Control, spec: ModelSpec, card: WorkerCard, tested: Mapping[str, Any], ready: bool
    ) -> None:
        """Announces the unit.

        Args:
            control: of the system.
            spec: of the device, without anything of its machine.
            card: of the worker.
            tested: its self-test; empty: none was made.
            ready: whether its driver is loaded.

        Raises:
            BrokerUnavailable: nobody is told; ``broker.presence_beat`` has nothing to repeat either.
        """
        self._register, self._worker_key = DeviceRegister(control), card.key
        unit = unit_of(
            spec,
            host=card.host,
            worker=card.name,
            worker_key=card.key,
            version=card.version,
            self_test_iou=tested.get("iou"),
            self_test_ms=tested.get("milliseconds"),
        )
        self._told_at = time.monotonic()
        self._told = UnitState.READY if ready else UnitState.WAITING_FOR_DEVICE
        self._register.announce(unit, self._told)

    def answers(self) -> None:
        """The device has done a segment."""
        self._tell(UnitState.READY)

    def is_away(self) -> None:
        """The device does not answer, or not even the known picture comes back right."""
        self._tell(UnitState.WAITING_FOR_DEVICE)

    def _tell(self, state: UnitState) -> None:
        now = time.monotonic()
        if self._register is None or (self._told == state and now - self._told_at < REPEAT_SECONDS):
            return
        try:
            self._register.state(self._worker_key, state)
            self._told, self._told_at = state, now
        except BrokerUnavailable as error:  # the work is what matters
            log.warning("the broker does not hear that the device is %s: %s", state, error)


@cache
def process_news() -> UnitNews:
    """The news of this process."""
    return UnitNews()
