"""What a device may be called by: an entry point, a file, or the name that it has announced itself by."""

from collections.abc import Callable, Sequence
from pathlib import Path

from broker.connection import Connection
from broker.device_register import DeviceRegister, UnknownDevice
from broker.errors import BrokerUnavailable, NotFound
from broker.messages import Segment
from broker.recipe import ModelSpec
from broker.settings import Settings

FILES = (".tflite", ".onnx", ".toml")
"""Ends of the files that ``settings.device_model`` may be the path of."""


def is_announced_name(name: str) -> bool:
    """Whether only a device that has announced itself can be meant: names of entry points and paths win."""
    from workers.models import DEVICES, installed

    return not name.endswith(FILES) and "/" not in name and name not in installed(DEVICES)


def announced(control: Connection, name: str) -> ModelSpec:
    """The model of the device that has announced itself as ``name``: its newest firmware.

    Raises:
        UnknownDevice: there is none; names the devices and the entry points that there are.
        BrokerUnavailable: the register cannot be asked.
    """
    register = DeviceRegister(control)
    try:
        return register.spec(name)
    except UnknownDevice as error:
        raise _unknown(name, register.names()) from error


def configured_device(settings: Settings, control: Callable[[], Connection]) -> ModelSpec:
    """The device that ``settings.device_model`` names, with their threshold where it says none itself.

    Args:
        settings: of this process.
        control: makes the connection to the register; called only for a name that is no entry point or file.

    Raises:
        NotFound: no such entry point, file or device.
        DeviceMisdescribed: a description is wrong.
        SettingsError, MissingDependency: as ``workers.models.device_spec``.
    """
    name = settings.device_model
    if name.endswith(".toml"):
        from tasks.devices_here import described_with_file

        return described_with_file(Path(name))
    if not is_announced_name(name):
        from workers.models import device_spec

        return device_spec(settings)
    try:
        return announced(control(), name)
    except BrokerUnavailable as error:
        raise _unknown(name, (), f" If it is a device's name, the broker has to be asked: {error}") from error


def _unknown(name: str, devices: Sequence[str], more: str = "") -> NotFound:
    from workers.models import DEVICES, installed

    return UnknownDevice(
        f"There is no device {name!r}.",
        f"Installed drivers: {', '.join(installed(DEVICES)) or 'none'}; devices that have announced "
        f"themselves: {', '.join(devices) or 'none'}; or give the path of a .tflite or .onnx file, or of "
        f"a device's description (me.toml).{more}",
    )


def note_device_queues(control: Connection, segments: Sequence[Segment]) -> None:
    """Lets the queues of the devices that ``segments`` are for be looked at, whether one was heard of or not.

    Raises:
        BrokerUnavailable: it is not noted.
    """
    routes = (segment.recipe.device_model.route for segment in segments)
    DeviceRegister(control).note_queues(sorted({route.queue for route in routes if route is not None}))
