"""Before a device's worker takes work: its description is right, and the device answers the known picture.

The test runs in a process of its own: a driver may crash, and what it loads and starts must not be in the
process from which the pool is forked. Run as ``python -m workers.device_start me.toml`` it prints what came
of it, as JSON.
"""

import dataclasses
import importlib.metadata
import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from broker.control import Control
from broker.device_register import DeviceRegister, unit_of
from broker.errors import (
    BrokerRefuses,
    BrokerUnavailable,
    BrokerUntrusted,
    HardposeError,
    MissingDependency,
    NotFound,
    SettingsError,
    WeightsError,
)
from broker.presence_beat import own_key
from broker.queues import DEVICE_QUEUE
from broker.recipe import Stage
from broker.settings import SECRET_VARIABLES, Settings, load_settings
from broker.unit_state import UnitState
from workers.devices.description import DeviceDescription, load_description
from workers.devices.errors import DeviceAway, DeviceMisdescribed, DriverCrashed, NothingServed

log = logging.getLogger(__name__)

ASK_SECONDS = 5.0
"""Between two questions to a device that does not answer."""
TELL_SECONDS = 30.0
"""Between two words in the log about it."""
LOAD_SECONDS = 120.0
"""For the driver's libraries and its network, beside the time limit of the device itself."""
BOOT_SECONDS = 120.0
"""For a device whose HTTP server is up before what it serves: until then a 404 is no wrong address."""
_KINDS = (
    DeviceAway, DeviceMisdescribed, MissingDependency, NothingServed, NotFound, SettingsError, WeightsError,
)  # fmt: skip
ERRORS = {kind.code: kind for kind in _KINDS}
"""What the test may raise."""


def device_queues(description: DeviceDescription, asked: Sequence[str]) -> tuple[str, ...]:
    """The queue that a device's worker serves: the one that its page says, which ``me`` means too.

    Raises:
        SettingsError: another one is asked for; whatever waits there is not for this device.
    """
    route = description.spec.route
    assert route is not None
    wrong = [name for name in asked if name not in (DEVICE_QUEUE, route.queue)]
    if wrong:
        raise SettingsError(
            f"The worker of the device {description.name} cannot serve the queue {wrong[0]!r}.",
            f"It drives this device alone, whose queue is {route.queue} ({description.place('queue')}): name "
            f"{DEVICE_QUEUE} or no queue, and start other workers without --device.",
        )
    return (route.queue,)


def tested_device(
    settings: Settings, description: DeviceDescription, name: str
) -> tuple[DeviceDescription, dict[str, Any]]:
    """Tests the device; one that does not answer is waited for, for days if need be. SIGTERM ends it.

    A server that answers 404 is waited for until it must have booted. The page may be put right meanwhile;
    what is tested is what is driven from then on.

    Args:
        settings: of the worker.
        description: of the device.
        name: of the worker.

    Returns:
        The description that was tested, and the fields of ``workers.devices.self_test.SelfTest``.

    Raises:
        DeviceMisdescribed: the known picture comes back wrong; names the line.
        DriverCrashed: the driver has ended the process.
        HardposeError: what else ``open_described`` and the driver's ``load`` raise.
    """
    while True:
        tested = _wait_for_device(settings, description, name)
        now = load_description(description.path)
        if now == description:
            return description, tested
        log.info("%s has changed: the device is tested anew", description.path)
        description = now


def _wait_for_device(settings: Settings, description: DeviceDescription, name: str) -> dict[str, Any]:
    told, booted_by = -TELL_SECONDS, math.inf
    with _ended_by_term():
        while True:
            try:
                tested = tested_apart(settings, description)
                for words in tested["warnings"]:
                    log.warning("%s", words)
                return tested
            except (DeviceAway, NothingServed) as error:
                booting = isinstance(error, NothingServed)
                booted_by = min(booted_by, time.monotonic() + BOOT_SECONDS) if booting else math.inf
                if time.monotonic() >= booted_by:
                    raise
                if time.monotonic() - told >= TELL_SECONDS:
                    told = time.monotonic()
                    log.warning("waiting for the device %s: %s", description.name, error)
                    _tell(settings, description, name)
            time.sleep(ASK_SECONDS)


def wait_for_broker(ping: Callable[[], None]) -> None:
    """Waits until ``ping`` is answered, for days if need be. SIGTERM ends it.

    Raises:
        BrokerRefuses, BrokerUntrusted: waiting would not help.
    """
    told = -TELL_SECONDS
    with _ended_by_term():
        while True:
            try:
                return ping()
            except (BrokerRefuses, BrokerUntrusted):
                raise
            except BrokerUnavailable as error:
                if time.monotonic() - told >= TELL_SECONDS:
                    told = time.monotonic()
                    log.warning("waiting for the broker: %s", error)
            time.sleep(ASK_SECONDS)


def tested_apart(settings: Settings, description: DeviceDescription) -> dict[str, Any]:
    """What the self-test says, in a process of its own; see ``tested_device``."""
    line = [sys.executable, "-P", "-m", "workers.device_start", str(description.path.absolute())]
    limit = LOAD_SECONDS + 10 * description.time_limit
    try:
        done = subprocess.run(  # noqa: S603 - our own program, a list of arguments, no shell
            line, capture_output=True, text=True, errors="replace", timeout=limit, check=False,
            env=_environment(settings),
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise DeviceAway(
            f"The device {description.name} has not answered the known picture within {limit:.0f} s.",
            "Look at the device; its time limit is in its description.",
        ) from error
    return _read(done, description)


def _environment(settings: Settings) -> dict[str, str]:
    """The settings, and no secret: a driver may hand its environment to a command."""
    given = os.environ | settings.environment()
    return {name: value for name, value in given.items() if name not in SECRET_VARIABLES}


def _read(done: "subprocess.CompletedProcess[str]", description: DeviceDescription) -> dict[str, Any]:
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        words = " ".join(done.stderr.split())[-300:]
        raise DriverCrashed(
            f"The driver {description.spec.name} of {description.name} ended the process that tested it "
            f"(exit status {done.returncode}): {words}",
            f"Look at {description.path}: its model, its delegate and their versions.",
        )
    said: Mapping[str, Any] = json.loads(lines[-1])
    if "code" in said:
        raise ERRORS.get(str(said["code"]), HardposeError)(said["cause"], said["remedy"])
    return dict(said)


def _tell(settings: Settings, description: DeviceDescription, name: str) -> None:
    """Whoever asks for the device is told that its worker waits for it."""
    host, key = socket.gethostname(), own_key()
    version = importlib.metadata.version("hardpose")
    try:
        register = DeviceRegister(Control.of(settings))
        unit = unit_of(description.spec, host=host, worker=name, worker_key=key, version=version)
        register.announce(unit, UnitState.WAITING_FOR_DEVICE)
    except BrokerUnavailable as error:
        log.warning("the broker does not hear of it: %s", error)


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """SIGTERM ends the waiting, and with it the process, in good order."""

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        sys.exit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> None:
    """Does one test, in the child."""
    from workers.compute import Compute
    from workers.devices.description import open_described
    from workers.devices.self_test import self_test
    from workers.weights import WeightsStore

    try:
        settings = load_settings(device=Path(sys.argv[1]))
        description = load_description(Path(sys.argv[1]))
        weights = WeightsStore(settings.weights_dir, settings.allow_networks)
        device = open_described(description, Compute.of(settings, Stage.ME), weights)
        said = dataclasses.asdict(self_test(device, description))
    except HardposeError as error:
        said = {"code": error.code, "cause": error.cause, "remedy": error.remedy}
    sys.stdout.write(f"\n{json.dumps(said)}\n")


if __name__ == "__main__":
    main()
