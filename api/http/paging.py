"""What all lists ask for alike: how many, and from where."""

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

VIDEO_ID = r"^[a-z0-9]+:[A-Za-z0-9_-]+$"
"""As ``broker.messages.Video`` has them."""
Limit = Annotated[int, Field(ge=1, le=500, description="Most items of the page.")]
Cursor = Annotated[
    str | None,
    Field(
        max_length=2000,
        pattern=r"^[\x21-\x7e]*$",
        description="`next` of the page before; none: from the start.",
    ),
]
VideoId = Annotated[str, Path(max_length=200, pattern=VIDEO_ID, examples=["youtube:dQw4w9WgXcQ"])]
FrameIdText = Annotated[
    str,
    Path(
        max_length=300,
        description="As a list of frames gives it: VIDEO.RECIPE.TIME_MS.",
        examples=["youtube:dQw4w9WgXcQ.0123456789abcdef.12345"],
    ),
]


class Asked(BaseModel):
    """The query of a request; a parameter that is not known is refused, since it would change nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PageAsked(Asked):
    """The query of a list."""

    limit: Limit = 50
    cursor: Cursor = None


OfPage = Annotated[PageAsked, Query()]
