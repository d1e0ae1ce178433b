"""Frames: lists with filters, counts for a threshold slider, and all that is known of one."""

from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import Field, model_validator

from api.http.access import Role
from api.http.dependencies import Here, requires
from api.http.paging import Asked, FrameIdText, PageAsked
from api.http.public import public_recipe, public_video
from broker.frame_views import (
    Facets,
    FrameDetail,
    FrameFilter,
    FrameView,
    Name,
    Order,
    Page,
    PoseClass,
    Review,
)
from broker.messages import Verdict

router = APIRouter(tags=["frames"], dependencies=[requires(Role.READ)])


class FramesWhere(Asked):
    """Which frames; of several values of one parameter any will do."""

    job: tuple[Name, ...] = Field((), max_length=100, description="Of these jobs.")
    video: tuple[Name, ...] = Field((), max_length=100, description="Of these videos.")
    verdict: tuple[Verdict, ...] = Field((), max_length=20)
    pose: tuple[PoseClass, ...] = Field((), max_length=20)
    review: tuple[Review, ...] = Field((), max_length=20, description="What the reviewers make of it.")
    min_iou: float | None = Field(None, ge=0, le=1, description="At least.")
    below_iou: float | None = Field(
        None, ge=0, le=1, description="Less than: 0.6 asks what a threshold of 0.6 would save."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        self.where()
        return self

    def where(self) -> FrameFilter:
        """The same as the books know it."""
        return FrameFilter(
            jobs=self.job,
            videos=self.video,
            verdicts=self.verdict,
            poses=self.pose,
            reviews=self.review,
            min_iou=self.min_iou,
            below_iou=self.below_iou,
        )


class FramesAsked(FramesWhere, PageAsked):
    """The query of a list of frames."""

    order: Order = Field(Order.IOU, description="Frames without the value come last.")


@router.get("/frames", summary="List frames")
def list_frames(asked: Annotated[FramesAsked, Query()], here: Here) -> Page[FrameView]:
    """Frames that passed the full-body filter, a page at a time."""
    return here.catalog.frames.page(asked.where(), asked.order, asked.limit, asked.cursor)


@router.get("/frames/facets", summary="Count frames")
def count_frames(asked: Annotated[FramesWhere, Query()], here: Here) -> Facets:
    """Counts by verdict, pose and review, each without the filter on its own field, and the IoU histogram.

    How many frames a threshold of n / 100 would save is the sum of the first n of `iou`.
    """
    return here.catalog.frames.facets(asked.where())


@router.get("/frames/{frame_id}", summary="Show a frame")
def show_frame(frame_id: FrameIdText, here: Here) -> FrameDetail:
    """All that is known of a frame: every measured number, its video, its recipe, who decided what."""
    detail = here.catalog.frames.get(frame_id)
    shown = {"video": public_video(detail.video), "recipe": public_recipe(detail.recipe)}
    return detail.model_copy(update=shown)
