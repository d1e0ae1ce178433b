"""What reviewers decide of frames, and what others have decided meanwhile."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.http.access import Role
from api.http.dependencies import CallerHere, Here, OpenAccess, requires
from api.http.paging import Asked, FrameIdText, Limit
from api.http.shown import Shown
from broker.frame_views import Page, ReviewDecision, ReviewEvent

router = APIRouter(tags=["reviews"])

Reviewer = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Reviews(BaseModel):
    """Decisions of a reviewer."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    reviewer: Reviewer | None = None
    """Whose they are, on an API without tokens. With tokens it is the token's name, whatever stands here."""
    decisions: tuple[ReviewDecision, ...] = Field(min_length=1, max_length=500)


class Events(Shown):
    """Decisions as booked."""

    items: tuple[ReviewEvent, ...]


class EventsAsked(Asked):
    """The query of the list of all decisions."""

    after: int = Field(0, ge=0, lt=2**53, description="Only those with a larger `number`.")
    reviewer: Reviewer | None = None
    limit: Limit = 50


@router.post("/reviews", summary="Decide on frames", dependencies=[requires(Role.REVIEW)])
def decide(given: Reviews, here: Here, caller: CallerHere, is_open: OpenAccess) -> Events:
    """Books decisions, all or none, and answers them as booked, in the order given.

    A decision that is sent twice (same `id`) counts once, so that a client may repeat what it had no answer
    to. Nothing is overwritten: a later decision of the same reviewer stands in place of the earlier one.
    """
    reviewer = given.reviewer if is_open and given.reviewer else caller.name
    return Events(items=tuple(here.catalog.reviews.decide(reviewer, given.decisions)))


@router.get("/reviews", summary="List decisions", dependencies=[requires(Role.READ)])
def list_reviews(asked: Annotated[EventsAsked, Query()], here: Here) -> Page[ReviewEvent]:
    """Everybody's decisions, the oldest first: with the largest `number` seen as `after`, what is new."""
    return here.catalog.reviews.page(asked.reviewer, asked.after, asked.limit)


@router.get(
    "/frames/{frame_id}/reviews",
    summary="List a frame's decisions",
    dependencies=[requires(Role.READ)],
)
def frame_reviews(frame_id: FrameIdText, here: Here) -> Events:
    """All that was ever said of a frame, the oldest first."""
    return Events(items=here.catalog.reviews.of(frame_id))
