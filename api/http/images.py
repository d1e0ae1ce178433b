"""The pictures of a frame: as stored, smaller, or with both masks drawn into it."""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import Field

from api.http.access import Role
from api.http.dependencies import Here, drawing_turn, requires
from api.http.drawing import VERSION, Box, Crop, View, frame_picture, mask_picture, overlay_picture
from api.http.kept_pictures import KeptPictures
from api.http.paging import Asked, FrameIdText
from api.http.ranges import matches
from broker.errors import NotFound
from broker.messages import Keeper
from tasks.runtime import Runtime

router = APIRouter(tags=["frames"], dependencies=[requires(Role.READ)])

CACHE = "private, max-age=3600, immutable"
"""A picture never changes under its address. An hour, so that a video that was removed is soon gone from
the browsers too."""
SMALL = 960
"""Widest picture that is kept in memory."""
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture: PNG of a mask, else JPEG.",
        "content": {
            name: {"schema": {"type": "string", "format": "binary"}} for name in ("image/jpeg", "image/png")
        },
    },
    304: {"description": "The picture is the one that `If-None-Match` names."},
}


class NoMask(NotFound):
    """The frame was dropped before this mask of it was made."""

    code = "no_mask"


class ImageAsked(Asked):
    """The query of a picture."""

    width: int | None = Field(
        None, ge=64, le=1920, description="Most pixels in width; never enlarged. None: as stored."
    )
    crop: Crop | None = Field(
        None,
        description="`person`: only the person and a little around, the box of the pose with a margin of 15 %"
        " of its longer side; all four views show the same part. None: the whole frame.",
    )


@router.get(
    "/frames/{frame_id}/images/{view}",
    summary="Show a frame's picture",
    response_class=Response,
    responses=PICTURE,
    dependencies=[Depends(drawing_turn, scope="function")],
)
def show_image(
    frame_id: FrameIdText,
    view: View,
    asked: Annotated[ImageAsked, Query()],
    here: Here,
    request: Request,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The frame, the teacher's mask, the device's mask, or the frame with both.

    In the `overlay` orange is the teacher's alone (the device misses it), blue the device's alone (it adds
    it), a breath of white what both have; each mask has an outline in its colour, white where the two run
    together. The colours are told apart with any kind of colour blindness.
    """
    keeper = here.catalog.frames.get(frame_id).keeper
    keys = _keys(keeper, view)
    person = keeper.box if asked.crop == Crop.PERSON else None
    drawn = [VERSION, view, str(asked.width), str(person), *keys]
    name = hashlib.sha256("\n".join(drawn).encode()).hexdigest()[:32]
    headers = {"ETag": f'"{name}"', "Cache-Control": CACHE}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    small = asked.width is not None and asked.width <= SMALL
    draw = _drawer(here, view, keys, asked.width, person)
    data = kept_pictures(request).get(name, draw) if small else draw()
    return Response(data, media_type=_media_type(data), headers=headers)


def kept_pictures(request: Request) -> KeptPictures:
    """The small pictures that this API holds in memory."""
    state = request.app.state
    if not hasattr(state, "kept_pictures"):
        state.kept_pictures = KeptPictures()
    kept: KeptPictures = state.kept_pictures
    return kept


def _keys(keeper: Keeper, view: View) -> list[str]:
    """The artifacts that the picture is made of.

    Raises:
        NoMask: one was never made.
    """
    masks = {"teacher's": keeper.mask_key, "device's": keeper.device_key}
    wanted = {View.FRAME: (), View.TEACHER: ("teacher's",), View.DEVICE: ("device's",)}.get(
        view, tuple(masks)
    )
    keys = [keeper.frame_key] if view in (View.FRAME, View.OVERLAY) else []
    for whose in wanted:
        key = masks[whose]
        if key is None:
            verdict = f" It ended as {keeper.verdict}." if keeper.verdict else ""
            raise NoMask(f"The frame has no {whose} mask.{verdict}", "Ask for its `frame` picture.")
        keys.append(key)
    return keys


def _drawer(
    here: Runtime, view: View, keys: list[str], width: int | None, person: Box | None
) -> Callable[[], bytes]:
    most = here.settings.max_frame_pixels

    def draw() -> bytes:
        stored = [here.artifacts.get(key) for key in keys]
        if view == View.OVERLAY:
            return overlay_picture(stored[0], stored[1], stored[2], width, most, person)
        return (frame_picture if view == View.FRAME else mask_picture)(stored[0], width, most, person)

    return draw


def _media_type(data: bytes) -> str:
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
