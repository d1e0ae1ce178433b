"""``hardpose devices list``: who they are, whether they are there, what waits, what they were judged on."""

import json
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.device_views import KnownDevice, SystemDevices, known_devices
from api.device_wait import condition
from api.printable import printable, span
from broker.errors import BrokerUnavailable
from broker.settings import Settings

if TYPE_CHECKING:
    from broker.device_books import JudgedDevice
    from broker.device_register import DeviceUnit

HEADERS = (
    "device", "firmware", "driver", "queue", "waiting", "unit", "state", "heard of", "frames", "hard",
)  # fmt: skip
WORDS = {
    "at_work": "at work",
    "waiting_for_device": "device does not answer",
    "silent": "silent",
    "gone": "stopped",
}
"""Of ``api.device_wait.CONDITIONS``."""


def list_devices(settings: Settings) -> tuple[list[KnownDevice], str]:
    """All devices, and why the broker could not be asked; empty if it could."""
    judged = _judged(settings)
    try:
        from broker.control import Control

        return known_devices(judged, SystemDevices.of(settings, Control.of(settings))), ""
    except BrokerUnavailable as error:  # the books can be read without
        return known_devices(judged, SystemDevices()), error.cause


def _judged(settings: Settings) -> "list[JudgedDevice]":
    from api.local import has_catalog
    from tasks.runtime import Runtime

    return Runtime(settings).catalog.devices.judged() if has_catalog(settings) else []


def print_devices(devices: list[KnownDevice], away: str, as_json: bool) -> None:
    """A line for each unit, or for a device without any."""
    if as_json:
        typer.echo(json.dumps({"devices": list(map(as_document, devices)), "broker": away or "answers"}))
        return
    if away:
        typer.echo(f"What is there now is not known. {printable(away)}")
    if not devices:
        typer.echo("No devices yet: `hardpose worker me --device me.toml` makes one known.")
        return
    table = Table(*HEADERS, box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    rows = [row for device in devices for row in _rows(device)]
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    widths = [max(map(len, column)) + 2 for column in zip(HEADERS, *rows, strict=True)]
    Console(width=max(Console().width, sum(widths))).print(table)  # what reads a pipe wants whole lines


def _rows(device: KnownDevice) -> list[tuple[str, ...]]:
    waiting = "" if device.waiting is None else f"{device.waiting:,}"
    if device.held:
        waiting += f" + {device.held:,} held"
    what = (device.name, device.firmware, device.driver, device.queue or "emulated", waiting)
    share = device.hard_share
    frames = f"{device.judged.frames:,}" if device.judged else "0"
    judged = (frames, "" if share is None else f"{share:.1%}")
    units = [_unit(unit) for unit in device.units] or [("", "", "")]
    more = [(("",) * len(what) + unit + ("", "")) for unit in units[1:]]
    return [(*what, *units[0], *judged), *more]


def _unit(unit: "DeviceUnit") -> tuple[str, str, str]:
    at = condition(unit)
    since = f" for {span(unit.last_seen - unit.since)}" if at == "waiting_for_device" else ""
    return (unit.key, WORDS[at] + since, f"{span(unit.silent)} ago")


def as_document(device: KnownDevice) -> dict[str, Any]:
    """The device for programs."""
    judged = device.judged
    return {
        "device": device.name,
        "firmware": device.firmware,
        "driver": device.driver,
        "queue": device.queue or None,
        "sha256": device.model.sha256,
        "state": device.state,
        "waiting": device.waiting,
        "held": device.held,
        "units": [
            {**unit.model_dump(mode="json", exclude={"spec"}), "condition": condition(unit)}
            for unit in device.units
        ],
        "recipes": list(judged.recipes) if judged else [],
        "frames": judged.frames if judged else 0,
        "hard": judged.hard if judged else 0,
        "hard_share": device.hard_share,
    }
