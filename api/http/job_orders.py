"""What an order for a job may say, and the links that the API takes."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from api.http.errors import LinkRefused
from api.options import channels
from broker.intake import Intake
from broker.priority import Priority
from broker.recipe import Comparison, DuplicateRule, Frozen, FullBodyRule, Sampling, TeacherGates
from broker.settings import Plain, Settings
from workers.downloads.links import expand_links, file_url_path, is_remote, refuse_password, with_scheme

MAX_LINKS = 10_000
EXAMPLE = {
    "links": ["https://www.youtube.com/watch?v=dQw4w9WgXcQ", "https://example.org/clips/handstand.mp4"],
    "recipe": {"iou_threshold": 0.6, "sampling": {"keeps_per_second": 1}},
    "intake": {"licences": "cc", "max_duration_seconds": 1800},
    "priority": "normal",
}

Link = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=4096)]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
"""The name of an entry point or of a device: no path, and no dot, so that no file can be meant."""
Options = Annotated[dict[str, Plain], Field(max_length=50)]


class SamplingOrder(Sampling):
    """``Sampling`` within the bounds of what videos have: beyond them nothing is gained but work."""

    segment_seconds: float = Field(20.0, ge=0.1, le=3600)
    candidates_per_second: float = Field(8.0, ge=0.001, le=1000)
    keeps_per_second: float = Field(2.0, ge=0.001, le=1000)


class RecipeOrder(Frozen):
    """What of the recipe differs from the API's settings; a field that is left out stays as they say."""

    iou_threshold: float | None = Field(None, ge=0, le=1)
    """IoU below which a frame is hard."""
    sampling: SamplingOrder | None = None
    rule: FullBodyRule | None = None
    duplicates: DuplicateRule | None = None
    teacher: TeacherGates | None = None
    pose_model: ModelName | None = None
    pose_options: Options | None = None
    mask_model: ModelName | None = None
    mask_options: Options | None = None
    device_model: ModelName | None = None
    """The name of a device that has announced itself (see ``/devices``), or of a driver. A network's file is
    chosen where the workers are, not through the API."""
    device_threshold: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _finite(self) -> Self:
        _check_finite(self.model_dump())
        return self

    def changes(self, settings: Settings) -> dict[str, Any]:
        """The settings that this order changes, with their values; what is as it was is not among them."""
        wanted: dict[str, Any] = {}
        for name in self.model_fields_set - {"iou_threshold"}:
            value = getattr(self, name)
            if value is not None:
                wanted[name] = _merged(getattr(settings, name), value)
        if self.iou_threshold is not None:
            wanted["comparison"] = Comparison(iou_threshold=self.iou_threshold)
        return {name: value for name, value in wanted.items() if value != getattr(settings, name)}


def _merged(base: Any, given: Any) -> Any:
    """``given``; of an object only its stated fields, the others as in ``base``."""
    if not isinstance(given, Frozen):
        return given
    return base.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


def _check_finite(value: Any) -> None:
    """JSON knows neither infinity nor NaN, but Python reads ``1e999`` and ``NaN`` as such."""
    if isinstance(value, dict):
        for part in value.values():
            _check_finite(part)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")


class JobOrder(Frozen):
    """An order for a job."""

    links: list[Link] = Field(min_length=1, max_length=MAX_LINKS)
    """Links to videos, playlists, channels or media files (http, https); files only below
    ``HARDPOSE_API_FOLDERS``."""
    recipe: RecipeOrder = RecipeOrder()
    intake: Intake = Intake()
    """Which of the linked videos are taken in; a field that is left out is as the API's settings say."""
    priority: Priority | None = None
    """Of a new job normal; of a job that is there already, left out, as it is."""

    @model_validator(mode="after")
    def _finite(self) -> Self:
        _check_finite(self.intake.model_dump())
        return self

    def rules(self, base: Intake) -> Intake:
        """``base`` with what the order states; a channel that ``base`` denies stays denied."""
        stated = {name: getattr(self.intake, name) for name in self.intake.model_fields_set}
        denied = channels([*base.denied_channels, *self.intake.denied_channels])
        return base.model_copy(update={**stated, "denied_channels": denied})


def accepted(links: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The links as ``expand_links`` leaves them, if the API takes each.

    Raises:
        BadLink: there is a user name or a password in one.
        LinkRefused: one is neither an http(s) address nor a file below ``folders``.
    """
    for link in links:
        _check(link, folders)
    expanded = expand_links([with_scheme(link) for link in links])
    for link in expanded:  # a folder may hold links that lead out of it
        _check(link, folders)
    if not expanded or len(expanded) > MAX_LINKS:
        raise LinkRefused(
            f"The links come to {len(expanded):,} videos.", f"Order 1 to {MAX_LINKS:,} at once."
        )
    return expanded


def _check(link: str, folders: Sequence[Path]) -> None:
    try:
        refuse_password(link)
        address = with_scheme(link)
        good = bool(urlsplit(address).hostname) if is_remote(address) else _inside(link, folders)
    except (ValueError, OSError, RuntimeError):  # of the URL's parser; of a loop of symbolic links
        good = False
    if not good:
        raise LinkRefused(
            f"{link[:200]!r} is no link that this API takes.",
            "Give http(s) addresses; files only below a folder that HARDPOSE_API_FOLDERS names.",
        )


def _inside(link: str, folders: Sequence[Path]) -> bool:
    """Whether a local path stays below ``folders``, by its name and where symbolic links lead it."""
    path = file_url_path(link) if link.lower().startswith("file:") else Path(link)
    if not path.is_absolute():
        return False
    named = Path(os.path.normpath(path))
    allowed = [folder.absolute() for folder in folders]
    # By name first: of a path elsewhere nothing is asked, not even whether it exists.
    if not any(named.is_relative_to(folder) for folder in allowed):
        return False
    real = path.resolve()
    return any(real.is_relative_to(folder.resolve()) for folder in allowed)
