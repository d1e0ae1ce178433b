"""What is checked of a ``me.toml`` beside types and bounds: its driver, its sections, its size."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from broker.errors import HardposeError, MissingDependency
from workers import models
from workers.devices.described_spec import SECTIONS
from workers.devices.errors import DeviceMisdescribed
from workers.devices.network_sizes import InputSize, size_in_file
from workers.devices.page import Page
from workers.devices.page_errors import misdescribed, no_toml, place
from workers.devices.toml_lines import key_lines
from workers.errors import ModelMismatch

MAX_BYTES = 16 * 1024
"""Of a description; it is a page."""


def read_page(path: Path) -> tuple[Page, dict[str, int]]:
    """The page, its types and bounds checked, and the line of each of its keys.

    Raises:
        DeviceMisdescribed: it cannot be read, is no TOML, or has a key or a value that it must not have.
    """
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
        raise no_toml(path, error, len(data.splitlines())) from error
    lines = key_lines(text)
    try:
        return Page.model_validate(values), lines
    except ValidationError as error:
        raise misdescribed(path, lines, error) from error


def check_driver(path: Path, lines: Mapping[str, int], page: Page) -> None:
    """Refuses a driver that is not there, and sections that are not its own.

    Raises:
        DeviceMisdescribed: see above.
    """
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


def working_size(path: Path, lines: Mapping[str, int], page: Page, model: Path | None) -> InputSize:
    """What the device works on: what the network's file says, else what the page says.

    Args:
        path: of the description.
        lines: of its keys.
        page: checked.
        model: the network's file.

    Returns:
        A width and a height of 0: the frame's own.

    Raises:
        DeviceMisdescribed: neither says it, or the two differ; or the file is no network.
        MissingDependency: the page does not say it, and the runtime that could read the file is not here.
    """
    stated = InputSize(page.input[0], page.input[1], page.batch) if page.input is not None else None
    if model is None:
        if stated is None and page.pixels == "inline" and page.driver in SECTIONS:
            raise DeviceMisdescribed(
                f'{path} says pixels = "inline" and not how large the pictures are to be.',
                "Write the size that the device works on: input = [256, 256].",
            )
        return stated or InputSize(0, 0, page.batch)
    try:
        width, height, batch = size_in_file(page.driver, model)
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
    if stated is not None and (width or stated.width, height or stated.height) != stated[:2]:
        raise DeviceMisdescribed(
            f"{place(path, lines, 'input')}: {page.input} stands there, and the input of {model.name} is "
            f"{width} x {height} (width x height).",
            f"Give [{width}, {height}], or leave the line out: the file says it itself.",
        )
    if batch and "batch" in lines and page.batch != batch:
        raise DeviceMisdescribed(
            f"{place(path, lines, 'batch')}: {page.batch} stands there, and {model.name} takes {batch} "
            "picture(s) in each call, no more and no fewer.",
            "Leave the line out: the file says it itself.",
        )
    size = stated or InputSize(width, height, page.batch)
    return size._replace(batch=batch or page.batch)


def _delegate(page: Page) -> bool:
    return page.network is not None and bool(page.network.delegate)


def _of_model(path: Path, lines: Mapping[str, int], error: HardposeError) -> HardposeError:
    if isinstance(error, MissingDependency):
        return MissingDependency(
            error.cause, f"{error.remedy} Or write the size that it works on: input = [256, 256]."
        )
    return DeviceMisdescribed(f"{place(path, lines, 'network.model')}: {error.cause}", error.remedy)
