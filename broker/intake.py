"""Which of the linked videos a job takes in: bounds, the licence gate, the channels that are refused.

Not part of the recipe: it decides what is fetched, never what a frame of a fetched video is worth.
"""

from datetime import date
from typing import Literal

from pydantic import Field

from broker.recipe import Frozen

Licences = Literal["any", "cc"]
"""``cc``: only videos whose site states a Creative Commons licence, CC0 or the public domain."""


class Intake(Frozen):
    """Bounds on remote videos. A user's own files are taken as they are, but for the settings' limits."""

    since: date | None = None
    """Refuses what was published before that day; a video whose day is not known is refused too."""
    max_duration_seconds: float | None = Field(None, gt=0)
    max_height: int = Field(720, ge=72)
    """Pixels; the largest format of a site that is fetched. A file that was fetched before stays as it is."""
    licences: Licences = "any"
    denied_channels: tuple[str, ...] = ()
    """Channel ids, handles (``@name``) or names; compared without regard to case."""
    limit: int | None = Field(None, ge=1)
    """Most videos taken of each playlist or channel, in the order of the site."""
