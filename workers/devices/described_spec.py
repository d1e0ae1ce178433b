"""From the page of a device to its ``ModelSpec``: the same meaning gives the same identity, however spelt."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from broker.queues import DEVICE_QUEUE, device_queue
from broker.recipe import ModelSpec, Route, WeightsRef
from broker.settings import Plain
from workers import models
from workers.devices.network_sizes import InputSize
from workers.devices.page import AnswerSection, NetworkSection, Page
from workers.downloads.files import file_sha256
from workers.options import option_values, with_options

IN_PROCESS = ("litert", "onnx")
"""Drivers that run a network in this process; their section is ``[network]``."""
SECTIONS = {"litert": "network", "onnx": "network", "http": "http", "command": "command"}
"""The section of each driver; that of another package's driver is ``[options]``."""


def spec_of(page: Page, model: Path | None, size: InputSize) -> ModelSpec:
    """The device as recipes name it.

    Args:
        page: checked.
        model: the network's file; None for a driver that has none here.
        size: what the device works on; a width and a height of 0: the frame's own.

    Raises:
        NotFound, MissingDependency: the driver is not installed here.
        SettingsError: an option of another package's driver is unknown or of the wrong type.
        OSError: the network's file cannot be read.
    """
    route = Route(
        device=page.name,
        firmware=page.firmware,
        queue=device_queue(page.name) if page.queue == "own" else DEVICE_QUEUE,
        pixels=page.pixels,
        width=size.width,
        height=size.height,
    )
    named = {"name": page.driver, "version": f"{page.name}@{page.firmware}", "route": route}
    if page.driver not in SECTIONS:
        return _strangers(page).model_copy(update=named)
    weights = (_weights(page, model),) if model is not None else ()
    stated = {"weights": weights, "stated_licence": "" if weights else page.licence}
    return ModelSpec(**named, **stated, options=_options(page, size))


def _weights(page: Page, model: Path) -> WeightsRef:
    return WeightsRef(
        file=model.name,
        sha256=file_sha256(model),
        source=f"device:{page.name}",
        licence=page.licence,
        size=model.stat().st_size,
    )


def _options(page: Page, size: InputSize) -> dict[str, Plain]:
    """Every option of the driver, the defaults written out."""
    section = getattr(page, SECTIONS[page.driver])
    given = _picture_keys(page) | {"width": size.width, "height": size.height}
    given |= _network_keys(section) if isinstance(section, NetworkSection) else _answer_keys(section)
    kind = _options_kind(page.driver)
    floats = {field.name for field in fields(kind) if isinstance(field.default, float)}
    # 1 and 1.0 mean the same and are written differently; so are 0.0 and -0.0.
    chosen = {key: float(value) + 0.0 if key in floats else value for key, value in given.items()}
    return option_values(kind(), chosen)


def _options_kind(driver: str) -> type[Any]:
    # Imported here: the page is read on machines that have no packages for any driver.
    if driver in IN_PROCESS:
        from workers.devices.network import NetworkOptions

        return NetworkOptions
    from workers.devices.answers import AnswerOptions

    return AnswerOptions


def _picture_keys(page: Page) -> dict[str, Any]:
    keys = {key: getattr(page, key) for key in ("resize", "frames", "threshold", "empty_masks")}
    return {key: value for key, value in keys.items() if value is not None}


def _network_keys(section: NetworkSection) -> dict[str, Any]:
    plain = section.model_dump(exclude_none=True, exclude={"model", "delegate", "delegate_options"})
    plain |= {key: in_words(plain[key]) for key in ("mean", "std") if key in plain}
    return plain | _delegate(section.delegate, section.delegate_options)


def _answer_keys(section: AnswerSection) -> dict[str, Any]:
    plain = section.model_dump(include={"answer", "person_label"}, exclude_none=True)
    if section.answer_size is not None:
        plain |= {"answer_width": section.answer_size[0], "answer_height": section.answer_size[1]}
    return plain


def in_words(numbers: Sequence[float]) -> str:
    """Numbers as an option's text: the shortest that reads back the same, parted by spaces."""
    return " ".join(repr(float(number) + 0.0) for number in numbers)


def _delegate(library: str, options: Mapping[str, str]) -> dict[str, str]:
    """A delegate by name and options: another one computes another mask. Its folder is of no account."""
    if not library:
        return {}
    words = [f"{key}={value}" for key, value in sorted(options.items())]
    return {"delegate": " ".join([Path(library).name, *words])}


def _strangers(page: Page) -> ModelSpec:
    """A stranger's own description, with what the page says on top; keys are his to check."""
    chosen = models.model_class(models.DEVICES, page.driver)
    given = _picture_keys(page) | (
        {"width": page.input[0], "height": page.input[1]} if page.input is not None else {}
    )
    if not hasattr(chosen, "default_spec"):
        return ModelSpec(
            name=page.driver, version="", stated_licence=page.licence, options=given | page.options
        )
    spec = with_options(chosen.default_spec(), page.options)
    licence = page.licence if "licence" in page.model_fields_set else spec.stated_licence
    return spec.model_copy(update={"options": {**spec.options, **given}, "stated_licence": licence})
