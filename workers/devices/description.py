"""A device described in a page: ``me.toml``."""

import difflib
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import ValidationError

from broker.errors import HardposeError, MissingDependency, SettingsError, WeightsError
from broker.recipe import ModelSpec, WeightsRef
from workers import models
from workers.compute import Compute
from workers.contracts import Device
from workers.devices.described_spec import SECTIONS, spec_of
from workers.devices.errors import DeviceMisdescribed
from workers.devices.network_sizes import size_in_file
from workers.devices.page import Page
from workers.devices.page_errors import misdescribed, no_toml, place
from workers.devices.toml_lines import key_lines
from workers.downloads.files import file_sha256
from workers.errors import ModelMismatch

MAX_BYTES = 16 * 1024
"""Of a description; it is a page."""


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
    page, lines = _read(path)
    _check_driver(path, lines, page)
    model = path.parent / page.network.model if page.network is not None else None
    try:
        if model is not None and not model.stat().st_size:
            raise OSError(0, "it is empty")
        spec = spec_of(page, model, _size(path, lines, page, model))
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
        batch=page.batch,
        time_limit=page.time_limit,
        model=model,
        delegate=_library(path, network.delegate) if network else "",
        delegate_options=network.delegate_options if network else {},
        connection=_connection(path, page),
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
    compute = compute or Compute(batch=description.batch)
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


def _read(path: Path) -> tuple[Page, dict[str, int]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DeviceMisdescribed(
            f"The description {path} cannot be read ({error.strerror}).", "Give the path of a me.toml."
        ) from error
    if len(data) > MAX_BYTES:
        raise DeviceMisdescribed(
            f"The description {path} has {len(data)} bytes.", f"It is a page, at most {MAX_BYTES} bytes."
        )
    try:
        text = data.decode("utf-8")
        values = tomllib.loads(text)
    except ValueError as error:
        raise no_toml(path, error) from error
    lines = key_lines(text)
    try:
        return Page.model_validate(values), lines
    except ValidationError as error:
        raise misdescribed(path, lines, error) from error


def _check_driver(path: Path, lines: Mapping[str, int], page: Page) -> None:
    """Refuses a driver that is not there, and sections that are not its own."""
    known, driver = models.installed(models.DEVICES), page.driver
    if driver not in known:
        near = difflib.get_close_matches(driver, known, n=1)
        raise DeviceMisdescribed(
            f"{place(path, lines, 'driver')}: {driver!r} stands there, and no such driver is installed.",
            f"{f'Did you mean {near[0]}? ' if near else ''}Installed: {', '.join(known)}.",
        )
    own = SECTIONS.get(driver, "options")
    for section in ("network", "http", "command", "options"):
        if section != own and getattr(page, section):
            raise DeviceMisdescribed(
                f"{place(path, lines, section)}: the driver {driver} does not read this table.",
                f"Describe it in [{own}], or name another driver.",
            )
    if own != "options" and getattr(page, own) is None:
        raise DeviceMisdescribed(
            f"{path} has no table [{own}], which the driver {driver} reads.", f"Add a line [{own}]."
        )


def _size(path: Path, lines: Mapping[str, int], page: Page, model: Path | None) -> tuple[int, int]:
    """Width and height that the device works on: what the network's file says, else what the page says."""
    stated = (page.input[0], page.input[1]) if page.input is not None else None
    if model is None:
        if stated is None and page.pixels == "inline" and page.driver in SECTIONS:
            raise DeviceMisdescribed(
                f'{path} says pixels = "inline" and not how large the pictures are to be.',
                "Write the size that the device works on: input = [256, 256].",
            )
        return stated or (0, 0)
    try:
        width, height = size_in_file(page.driver, model)
    except (ModelMismatch, MissingDependency) as error:
        if stated is not None and (isinstance(error, MissingDependency) or _delegate(page)):
            # A file for an NPU may hold operations that only its delegate knows.
            return stated
        raise _of_model(path, lines, error) from error
    if stated is None and not (width and height):
        raise DeviceMisdescribed(
            f"{place(path, lines, 'network.model')}: {model.name} leaves its input's size open.",
            "Write the size that the device works on: input = [256, 256].",
        )
    if stated is not None and (width or stated[0], height or stated[1]) != stated:
        raise DeviceMisdescribed(
            f"{place(path, lines, 'input')}: {list(stated)} stands there, and the input of {model.name} is "
            f"{width} x {height} (width x height).",
            f"Give [{width}, {height}], or leave the line out: the file says it itself.",
        )
    return stated or (width, height)


def _delegate(page: Page) -> bool:
    return page.network is not None and bool(page.network.delegate)


def _of_model(path: Path, lines: Mapping[str, int], error: HardposeError) -> HardposeError:
    if isinstance(error, MissingDependency):
        return error
    return DeviceMisdescribed(f"{place(path, lines, 'network.model')}: {error.cause}", error.remedy)


def _library(path: Path, delegate: str) -> str:
    """A bare name is the system's loader's to find; a path is relative to the description."""
    return str(path.parent / delegate) if "/" in delegate else delegate


def _connection(path: Path, page: Page) -> dict[str, Any]:
    if page.http is not None:
        files = {"token_file": page.http.token_file, "ca": page.http.ca}
        return {"url": page.http.url} | {key: path.parent / file for key, file in files.items() if file}
    return {"run": page.command.run} if page.command is not None else {}
