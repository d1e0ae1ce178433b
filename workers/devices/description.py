"""A device described in a page: ``me.toml``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from broker.recipe import ModelSpec
from workers.compute import Compute
from workers.contracts import Device
from workers.devices.errors import DeviceMisdescribed


@dataclass(frozen=True)
class DeviceDescription:
    """What a ``me.toml`` says, checked.

    Attributes:
        path: of the file.
        spec: the device as recipes name it: its driver, its product and firmware as the version, the hash of
            its model, every option that changes a mask, and its route. No address, command or secret.
        batch: images in one call.
        time_limit: seconds for one call.
        model: the network's file; None for a driver that has none here.
        delegate: of LiteRT, the path of its shared library; empty: the CPU.
        delegate_options: for it.
        connection: what ``http`` and ``command`` reach the device by; never part of ``spec``, never logged.
        lines: the line of each key, such as ``network.colours``.
    """

    path: Path
    spec: ModelSpec
    batch: int = 1
    time_limit: float = 10.0
    model: Path | None = None
    delegate: str = ""
    delegate_options: Mapping[str, str] = field(default_factory=dict)
    connection: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the product."""
        assert self.spec.route is not None
        return self.spec.route.device

    @property
    def firmware(self) -> str:
        """As the file says."""
        assert self.spec.route is not None
        return self.spec.route.firmware

    def place(self, key: str) -> str:
        """Where ``key`` stands: ``me.toml, line 7 (network.colours)``, or that it is not given."""
        line = self.lines.get(key)
        return f"{self.path}, line {line} ({key})" if line else f"{self.path} ({key} is not given)"


class Described(Protocol):
    """What a driver class offers besides when it needs more than a ModelSpec."""

    @classmethod
    def of_description(cls, description: DeviceDescription, compute: Compute) -> Device:
        """The driver of the described device; reaches nothing yet."""
        ...


def load_description(path: Path) -> DeviceDescription:
    """Reads and checks a description; a network's file is opened for its sizes.

    Raises:
        DeviceMisdescribed: names the file, the line, what is wrong and what may stand there.
    """
    raise DeviceMisdescribed(f"{path} cannot be read yet.", "Describe the device by HARDPOSE_DEVICE_MODEL.")


def open_described(description: DeviceDescription, compute: Compute | None = None) -> Device:
    """The driver of the described device; loads and reaches nothing yet.

    Raises:
        NotFound, MissingDependency: its driver is not installed here.
        DeviceMisdescribed: an option cannot be used.
    """
    raise DeviceMisdescribed(f"{description.path} cannot be opened on {compute} yet.", "Name a .tflite file.")
