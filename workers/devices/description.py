"""A device described in a page: ``me.toml``."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

from broker.errors import SettingsError, WeightsError
from broker.recipe import ModelSpec, WeightsRef
from workers import models
from workers.compute import Compute
from workers.contracts import Device
from workers.devices.described_spec import spec_of
from workers.devices.errors import DeviceMisdescribed
from workers.devices.page import Page
from workers.devices.page_checks import check_driver, read_page, working_size
from workers.devices.page_errors import place
from workers.downloads.files import file_sha256


@dataclass(frozen=True)
class DeviceDescription:
    """What a ``me.toml`` says, checked.

    Attributes:
        path: of the file.
        spec: the device as recipes name it: its driver, its product and firmware as the version, the hash of
            its model, every option that changes a mask, and its route. No address, command or secret.
        batch: images in one call; as the network's file says, where it does.
        processes: of its worker; see ``workers.device_turn``.
        time_limit: seconds for one call.
        model: the network's file; None for a driver that has none here.
        delegate: of LiteRT, the path of its shared library; empty: the CPU.
        delegate_options: for it.
        connection: what ``http`` and ``command`` reach the device by; never part of ``spec``, never logged.
        known_files: of a known picture of its own, its ``image`` and its ``mask``; None: the embedded one.
        lines: the line of each key, such as ``network.colours``.
    """

    path: Path
    spec: ModelSpec
    batch: int = 1
    processes: int = 1
    time_limit: float = 10.0
    model: Path | None = None
    delegate: str = ""
    delegate_options: Mapping[str, str] = field(default_factory=dict)
    connection: Mapping[str, Any] = field(default_factory=dict, repr=False)
    known_files: Mapping[str, Path] | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def on_processor(self) -> bool:
        """Whether it is a network that this machine runs itself, and by no delegate: not on an NPU."""
        return self.model is not None and not self.delegate

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
        return place(self.path, self.lines, key)

    def wrong(self, key: str, why: str, remedy: str) -> DeviceMisdescribed:
        """The error that the value of ``key`` is wrong, by its line."""
        return DeviceMisdescribed(f"{self.place(key)}: {why}", remedy)


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
    page, lines = read_page(path)
    check_driver(path, lines, page)
    model = path.parent / page.network.model if page.network is not None else None
    try:
        if model is not None and not model.stat().st_size:
            raise OSError(0, "it is empty")
        size = working_size(path, lines, page, model)
        spec = spec_of(page, model, size)
    except OSError as error:
        raise DeviceMisdescribed(
            f"{place(path, lines, 'network.model')}: {model} cannot be read ({error.strerror}).",
            "Give the path of the network's file, relative to the folder of the description.",
        ) from error
    except DeviceMisdescribed:
        raise
    except SettingsError as error:
        raise DeviceMisdescribed(f"{place(path, lines, 'options')}: {error.cause}", error.remedy) from error
    network = page.network
    return DeviceDescription(
        path=path,
        spec=spec,
        batch=size.batch,
        processes=page.processes or _processes(page),
        time_limit=page.time_limit,
        model=model,
        delegate=_library(path, network.delegate) if network else "",
        delegate_options=network.delegate_options if network else {},
        connection=_connection(path, page),
        known_files=_known_files(path, page),
        lines=lines,
    )


def open_described(
    description: DeviceDescription, compute: Compute | None = None, weights: models.Weights | None = None
) -> Device:
    """The driver of the described device; loads and reaches nothing yet.

    Args:
        description: from ``load_description``.
        compute: what of this machine it may use.
        weights: the store for weights that a driver of another package brings itself; none: it has none.

    Raises:
        NotFound, MissingDependency: its driver is not installed here.
        DeviceMisdescribed: an option cannot be used.
    """
    chosen = models.model_class(models.DEVICES, description.spec.name)
    compute = replace(compute or Compute(), batch=description.batch)
    try:
        if hasattr(chosen, "of_description"):
            return cast(Described, chosen).of_description(description, compute)
        return cast(Device, chosen(description.spec, OwnFile(description, weights), compute))
    except DeviceMisdescribed:
        raise
    except SettingsError as error:
        raise DeviceMisdescribed(f"{description.path}: {error.cause}", error.remedy) from error


class OwnFile:
    """A described network's file as a driver asks for it. Implements ``workers.models.Weights``.

    Args:
        description: whose file it is.
        others: for all other weights.
    """

    def __init__(self, description: DeviceDescription, others: models.Weights | None = None) -> None:
        self._description, self._others = description, others

    @cached_property
    def _scratch(self) -> "tempfile.TemporaryDirectory[str]":
        return tempfile.TemporaryDirectory(prefix="hardpose-device-")

    def path(self, ref: WeightsRef) -> Path:
        """The file, its bytes as they were when the description was read.

        Raises:
            DeviceMisdescribed: it is gone, or another one by now.
            WeightsError: ``ref`` is of other weights, and no store was given.
        """
        own = self._description
        if own.model is None or ref not in own.spec.weights:
            if self._others is None:
                raise WeightsError(f"{ref.file} is no file of {own.path}.", "Name it in the description.")
            return self._others.path(ref)
        try:
            found = file_sha256(own.model)
        except OSError as error:
            raise own.wrong(
                "network.model", f"{own.model} cannot be read ({error.strerror}).", "Bring the file back."
            ) from error
        if found != ref.sha256:
            raise own.wrong(
                "network.model",
                f"{own.model} has changed since the description was read.",
                "Start the worker again: another network is another recipe.",
            )
        return own.model

    def derived(self, ref: WeightsRef, name: str, make: Callable[[Path, Path], None]) -> Path:
        """A file made from the weights, kept for as long as this object lives.

        Raises:
            DeviceMisdescribed, WeightsError: see ``path``.
        """
        final = Path(self._scratch.name) / f"{ref.sha256}.{name}"
        if not final.exists():
            make(self.path(ref), final)
        return final


def _processes(page: Page) -> int:
    """Two where the device is this machine's processor: it then waits for neither messages nor pictures.

    One otherwise: an NPU may be open in one process only, and what is reached by a network or a program takes
    far longer than all that is done beside it.
    """
    on_processor = page.network is not None and not page.network.delegate
    return 2 if on_processor else 1


def _library(path: Path, delegate: str) -> str:
    """A bare name is the system's loader's to find; a path is relative to the description."""
    return str(path.parent / delegate) if "/" in delegate else delegate


def _connection(path: Path, page: Page) -> dict[str, Any]:
    if page.http is not None:
        files = {"token_file": page.http.token_file, "ca": page.http.ca}
        return {"url": page.http.url} | {key: path.parent / file for key, file in files.items() if file}
    return {"run": page.command.run} if page.command is not None else {}


def _known_files(path: Path, page: Page) -> dict[str, Path] | None:
    own = page.known_picture
    return None if own is None else {"image": path.parent / own.image, "mask": path.parent / own.mask}
