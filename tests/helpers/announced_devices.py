"""Devices that have announced themselves, without a device behind them."""

from broker.control import Control
from broker.device_register import DeviceRegister, DeviceUnit, unit_of
from broker.recipe import ModelSpec, Route


def device_spec(
    device: str = "me-2", firmware: str = "1.0", queue: str = "me", driver: str = "http"
) -> ModelSpec:
    """A device that is driven elsewhere."""
    route = Route(device=device, firmware=firmware, queue=queue, pixels="inline", width=160, height=96)
    return ModelSpec(name=driver, version=f"{device}@{firmware}", options={"threshold": 0.5}, route=route)


def device_unit(spec: ModelSpec, pid: int = 1, host: str = "shelf-7") -> DeviceUnit:
    """A unit of it."""
    worker, key = f"me-{pid}@{host}", f"{host}:{pid}"
    return unit_of(spec, host=host, worker=worker, worker_key=key, version="0.1", self_test_iou=0.9)


def announce(control: Control, spec: ModelSpec, pid: int = 1, silent: float = 0.0) -> str:
    """Announces a unit; returns its key.

    Args:
        control: of the system.
        spec: of the device.
        pid: of the unit's worker.
        silent: seconds since it was last heard of.
    """
    key = DeviceRegister(control).announce(device_unit(spec, pid))
    if silent:
        with control.server() as server:
            seconds, microseconds = server.time()
            seen = seconds + microseconds / 1e6 - silent
            server.hset(control.key("devices"), f"seen:{key}", f"{seen:.6f}")
    return key
